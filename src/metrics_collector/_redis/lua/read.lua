-- read: the head of a claim.
-- KEYS: claim   ARGV: n, max_bytes of an entry, budget (bytes)
-- Returns {length of the claim, its first n entries}; an entry longer than max_bytes comes cut to that, and those that
-- follow once the budget is used up are left for the next time.
local n, limit, budget = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local length, entries = redis.call('LLEN', KEYS[1]), {}
while #entries < n and budget > 0 do
  local some = redis.call('LRANGE', KEYS[1], #entries, math.min(#entries + 100, n) - 1)
  if #some == 0 then break end
  for i = 1, #some do
    local entry = some[i]
    if #entry > limit then entry = string.sub(entry, 1, limit) end
    entries[#entries + 1] = entry
    budget = budget - #entry
  end
end
return {length, entries}
