-- live: the live totals of some functions, in one reply: clients take much longer for a reply to each.
-- KEYS: T of each function
-- Returns of each its fields, every one followed by its value; nothing of one that has none, or of another type.
local found = {}
for i = 1, #KEYS do
  found[i] = redis.call('TYPE', KEYS[i])['ok'] == 'hash' and redis.call('HGETALL', KEYS[i]) or {}
end
return found
