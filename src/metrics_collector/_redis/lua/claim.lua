-- claim: the right to save a list of entries, for the time of a lease.
-- KEYS: list, claims, claimed, life, the new claim, claims made
-- ARGV: token, lease_ms, any (1: other workers' leases do not count), life (random, used if Redis has none yet)
-- Returns {token, life}; token is '' when there is nothing to do: no entries, or another worker is at it.
-- One drain at a time, for speed and steady totals; correctness does not rest on it, nor on the lease's clock.
-- The first write (PERSIST, RENAMENX) is one that a full Redis takes; the rest of a script then passes too.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('PERSIST', KEYS[2])
redis.call('SET', KEYS[4], ARGV[4], 'NX')
local life = redis.call('GET', KEYS[4])
local old = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[3] == '1' and '+inf' or now, 'LIMIT', 0, 1)[1]
-- A lease that ends later than one that begins now is from before the clock was set back, and would hold for as long.
  or redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. string.format('%.0f', now + ARGV[2]), '+inf', 'LIMIT', 0, 1)[1]
if old then
  redis.call('ZADD', KEYS[2], 'XX', now + ARGV[2], old)
  return {old, life}
end
if redis.call('ZCARD', KEYS[2]) > 0 then return {'', life} end
redis.call('DEL', KEYS[3])      -- it still counts the elements of a claim that was evicted or deleted
local n = redis.call('LLEN', KEYS[1])
if n == 0 or redis.call('RENAMENX', KEYS[1], KEYS[5]) == 0 then return {'', life} end
redis.call('ZADD', KEYS[2], now + ARGV[2], ARGV[1])
redis.call('SET', KEYS[3], n)
redis.call('INCR', KEYS[6])      -- what is pushed from now on is in another list
return {ARGV[1], life}
