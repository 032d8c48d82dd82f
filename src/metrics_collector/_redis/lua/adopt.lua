-- adopt: claims of which no lease is known, since the key of leases was evicted or deleted, may be taken over at once.
-- KEYS: claims, claimed, then each list of a claim that there seems to be
-- ARGV: token of each
-- A claim that is gone by now is left alone. The first write (PERSIST) is one that a full Redis takes.
redis.call('PERSIST', KEYS[1])
for i = 1, #ARGV do
  local n = redis.pcall('LLEN', KEYS[2 + i])
  if type(n) == 'number' and n > 0 and redis.call('ZADD', KEYS[1], 'NX', 0, ARGV[i]) == 1 then
    redis.call('INCRBY', KEYS[2], n)
  end
end
