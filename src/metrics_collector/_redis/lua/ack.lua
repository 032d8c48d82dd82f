-- ack: what SQL has committed leaves the claim, and the live totals learn what SQL says now: T += (A - B) - d, B = A.
-- With n = 0 and the totals of functions it reconciles them.
-- KEYS: claim, claims, claimed, list, then T and B of each function, then the producers
-- ARGV: token, expected length of the claim, n, lease_ms, ttl_ms, no, db, number of functions,
--       per function: d (JSON: all numbered entries of the chunk), A (JSON: all that SQL has), A's no,
--                     prev (A's no before this commit if all of d was newly saved and nothing else, else ''),
--       per producer: saved (text)
-- Returns {1 if the claim was as expected, else 0; {i, no of B, …} of the functions of which B has seen a later A}.
-- The first write (PERSIST) is one that a full Redis takes; the rest of a script then passes too. No error ends it in the
-- midst: a key that holds something else, or a field that is no number, is left to reconciling. The JSON is decoded only
-- where it is needed: that takes longest, and a worker sends none that is malformed.
local expected, n, no, db = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[6]), ARGV[7]
local functions = tonumber(ARGV[8])

redis.call('PERSIST', KEYS[2])
local mine = ARGV[1] ~= '' and redis.call('LLEN', KEYS[1]) == expected
if mine then
  if n > 0 then
    redis.call('LTRIM', KEYS[1], n, -1)
    if redis.call('DECRBY', KEYS[3], n) < 0 then redis.call('DEL', KEYS[3]) end      -- it was evicted
  end
  if redis.call('EXISTS', KEYS[1]) == 0 then
    redis.call('ZREM', KEYS[2], ARGV[1])
  else
    local time = redis.call('TIME')
    redis.call('ZADD', KEYS[2], 'XX', time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[4], ARGV[1])
  end
end
local quiet = redis.call('EXISTS', KEYS[4]) == 0 and redis.call('ZCARD', KEYS[2]) == 0

local function number(value) return string.format('%.17g', value) end
local function widen(T, B)
  local had = redis.call('HMGET', T, 'min', 'max', 'last_called_at')
  local function set(field, value, old, less)
    old = tonumber(old or nil)
    if value and (not old or (less and value < old) or (not less and value > old)) then
      redis.call('HSET', T, field, number(value))
    end
  end
  set('min', B.min, had[1], true)
  set('max', B.max, had[2], false)
  set('last_called_at', B.last, had[3], false)
end
local no_count = {execution_time = true, min = true, max = true, last_called_at = true, as_of = true}
local function settle(T, B)      -- nothing waits anywhere: the totals are what SQL has
  local fields, has = redis.call('HGETALL', T), {}
  for i = 1, #fields, 2 do
    local field = fields[i]
    has[field] = tonumber(fields[i + 1])
    if not B.c[field] and not no_count[field] then redis.call('HDEL', T, field) end
  end
  for field, want in pairs(B.c) do
    if want ~= has[field] then redis.call('HSET', T, field, string.format('%.0f', want)) end
  end
  if B.sum ~= has.execution_time then redis.call('HSET', T, 'execution_time', number(B.sum)) end
  widen(T, B)
end

local ahead = {}
for i = 1, functions do
  local T, key, at = KEYS[3 + 2 * i], KEYS[4 + 2 * i], 5 + 4 * i
  local as_of, had = redis.pcall('HEXISTS', T, 'as_of'), redis.pcall('HMGET', key, 'db', 'no', 'j')
  if type(as_of) == 'number' and not had.err then
    local a_no, prev, stamped = tonumber(ARGV[at + 2]), ARGV[at + 3], as_of == 1
    local b_no = tonumber(had[2] or nil)
    if had[1] == db and b_no and b_no > a_no then
      ahead[#ahead + 1] = i
      ahead[#ahead + 1] = b_no
    end
    local B
    if mine and stamped and prev ~= '' and had[1] == db and had[2] == prev then
      redis.call('HSET', key, 'no', a_no, 'j', ARGV[at + 1])      -- d only moves from pending to saved: T stays
      B = quiet and cjson.decode(ARGV[at + 1])
    else
      local net, sum = {}, 0
      if mine and ARGV[at] ~= '' then
        local d = cjson.decode(ARGV[at])
        for field, by in pairs(d.c) do net[field] = -by end
        sum = -d.sum
      end
      B = had[3] and stamped and cjson.decode(had[3]) or {c = {}, sum = 0}
      if not stamped or had[1] ~= db or not b_no or b_no < a_no then
        local A = cjson.decode(ARGV[at + 1])
        for field, by in pairs(A.c) do net[field] = (net[field] or 0) + by end
        for field, by in pairs(B.c) do net[field] = (net[field] or 0) - by end
        sum = sum + A.sum - B.sum
        redis.call('HSET', key, 'db', db, 'no', a_no, 'j', ARGV[at + 1])
        redis.call('HSET', T, 'as_of', a_no)
        B = A
        widen(T, B)
      end
      for field, by in pairs(net) do
        if by ~= 0 then redis.pcall('HINCRBY', T, field, string.format('%.0f', by)) end
      end
      if sum ~= 0 then redis.pcall('HINCRBYFLOAT', T, 'execution_time', number(sum)) end
    end
    if quiet then settle(T, B) end
  end
end

local function covers(text, old)      -- whether all numbers of the one are in the other
  for first, last in string.gmatch(old, '(%d+)-(%d+)') do
    local found = false
    for from, till in string.gmatch(text, '(%d+)-(%d+)') do
      found = found or (tonumber(from) <= tonumber(first) and tonumber(last) <= tonumber(till))
    end
    if not found then return false end
  end
  return true
end
for i = 1, #KEYS - 4 - 2 * functions do
  local producer, saved = KEYS[4 + 2 * functions + i], ARGV[8 + 4 * functions + i]
  local known = redis.pcall('HMGET', producer, 'db', 'no', 'saved', 'seen')
  if not known.err and (known[1] ~= db or tonumber(known[2] or 0) < no) then
    -- SQL does not know any more what it had: the file was deleted or replaced, and what is missing, Redis has not lost.
    if not covers(saved, known[3] or '') then redis.call('HSET', producer, 'unsure', known[4] or 0) end
    redis.call('HSET', producer, 'saved', saved, 'db', db, 'no', no)
    redis.call('PEXPIRE', producer, ARGV[5])
  end
end
return {mine and 1 or 0, ahead}
