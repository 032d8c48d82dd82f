-- read: the head of a claim.
-- KEYS: claim   ARGV: n, max_bytes of an entry, budget (bytes)
-- Returns the length of the claim, then its first n entries in lists of some; an entry longer than max_bytes comes cut to
-- that, and those that follow once the budget is used up are left for the next time.
local n, limit, budget = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local answer, read = {redis.call('LLEN', KEYS[1])}, 0
while read < n and budget > 0 do
  local some = redis.call('LRANGE', KEYS[1], read, math.min(read + 100, n) - 1)
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
