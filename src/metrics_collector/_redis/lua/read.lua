-- read: some of a claim.
-- KEYS: claim   ARGV: start, n, max_bytes of an entry, budget (bytes)
-- Returns the length of the claim, then its n entries from start on in lists of some; an entry longer than max_bytes comes
-- cut to that, and those that follow once the budget is used up are left for the next time.
local read, limit, budget = tonumber(ARGV[1]), tonumber(ARGV[3]), tonumber(ARGV[4])
local answer, stop = {redis.call('LLEN', KEYS[1])}, read + ARGV[2]
while read < stop and budget > 0 do
  local some = redis.call('LRANGE', KEYS[1], read, math.min(read + 100, stop) - 1)
  local count = #some
  if count == 0 then break end
  for i = 1, count do
    local size = #some[i]
    if size > limit then
      some[i] = string.sub(some[i], 1, limit)
      size = limit
    end
    budget = budget - size
  end
  read = read + count
  answer[#answer + 1] = some
end
return answer
