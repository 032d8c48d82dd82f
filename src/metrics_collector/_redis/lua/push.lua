-- push: one batch of a producer into metrics_list and the live totals, at most once; or, with n = 0, a look.
-- KEYS: list, producer, claimed, flush requested, claims, claims made, then T of each function
-- ARGV: first, last, need, force (1: outside the producer's order), max_backlog, max_items, ttl_ms, n,
--       entries (joined by newlines), deltas (JSON: the fields of each T, then their numbers; first
--       execution_time, min, max and last_called_at, then counts)
-- The producer's hash notes its last list, and as the field given:{first} = last what is forced and was not seen; and as
-- unsure up to which number SQL may have had more than saved says.
-- Returns {kind, seen, saved, request flush, bad, oldest, newest}; kind: ok, skip (already here), gap (an earlier batch
-- is missing), full, look.
-- oldest and newest: the lists of which something may have been here before this. Each claim takes a whole list, and
-- there is no other one before SQL has it: so what is of none of these lists, and not in saved, was lost.
-- Everything is decoded before the first write, because Lua does not roll back. The first write is one that a full
-- Redis refuses, so a refused batch has left no trace.
local list, producer = KEYS[1], KEYS[2]
local first, last, need, force = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4] == '1'
local ttl, n = ARGV[7], tonumber(ARGV[8])
local state = redis.call('HMGET', producer, 'seen', 'saved')
local seen, saved = tonumber(state[1] or 0), state[2] or ''
local newest = tonumber(redis.call('GET', KEYS[6]) or 0)
local oldest = newest + 1
if redis.call('EXISTS', KEYS[5]) == 1 then
  oldest = newest - 1      -- the list of the last claim, or a later one
elseif redis.call('EXISTS', list) == 1 then
  oldest = newest
end
local function reply(kind, request, bad) return {kind, seen, saved, request, bad, oldest, newest} end
if n == 0 then
  redis.call('PEXPIRE', producer, ttl)
  return reply('look', 0, 0)
end

local waiting = redis.call('LLEN', list)
local function request_flush(length)
  if length < tonumber(ARGV[6]) then return 0 end
  local rest = redis.call('PTTL', KEYS[4])
  if rest >= 0 and rest <= 1000 then return 0 end      -- a longer one is from before the clock was set back
  redis.call('SET', KEYS[4], 1, 'PX', 1000)
  return 1
end
if not force then
  if last <= seen then
    redis.call('PEXPIRE', producer, ttl)
    return reply('skip', request_flush(waiting), 0)
  end
  if seen < need then return reply('gap', 0, 0) end
end
local unsaved = waiting + tonumber(redis.call('GET', KEYS[3]) or 0)
if unsaved > 0 and unsaved + n > tonumber(ARGV[5]) then      -- alone, even a batch above the limit has to get through
  return reply('full', request_flush(waiting), 0)
end

-- Local names, and no length that is asked for: this is done for every entry.
local deltas, entries, n_entries, text, from = cjson.decode(ARGV[10]), {}, 0, ARGV[9], 1
local find, sub, format, tonumber = string.find, string.sub, string.format, tonumber
while from <= #text do
  local till = find(text, '\n', from, true) or #text + 1
  n_entries = n_entries + 1
  entries[n_entries] = sub(text, from, till - 1)
  from = till + 1
end

redis.call('HSET', producer, 'list', newest)
if not force then
  redis.call('HSET', producer, 'seen', last)
  -- What was before the key was lost, or had expired, is in SQL, of which the ledger may have forgotten it.
  if not state[1] and first > 1 then redis.call('HSET', producer, 'unsure', first - 1) end
  seen = last
elseif last > seen then
  redis.call('HSET', producer, 'given:' .. first, last)
end
for i = 1, n_entries, 1000 do
  redis.call('RPUSH', list, unpack(entries, i, math.min(i + 999, n_entries)))
end
redis.call('PEXPIRE', producer, ttl)
-- One HMGET and one HSET a function, since a call from Lua costs more than what it does; and the same tables for all,
-- since one that grows costs as much again. A field that is no number stays, and so does a count that is no whole one.
local bad, changed, m = 0, {}, 0
local function set(field, value)
  changed[m + 1], changed[m + 2], m = field, value, m + 2
end
local function keep(field, value, old, less)
  old = tonumber(old or nil)
  if not old or (less and value < old) or (not less and value > old) then set(field, format('%.17g', value)) end
end
for k = 7, #KEYS do
  local T, fields, by = KEYS[k], deltas[1][k - 6], deltas[2][k - 6]
  local count = #fields
  for from = 1, count, 1000 do
    local till = math.min(from + 999, count)
    local old = redis.pcall('HMGET', T, unpack(fields, from, till))
    if old.err then
      bad = bad + 1
      break
    end
    m = 0
    if from == 1 then
      local sum = tonumber(old[1] or '0')
      if sum then
        -- In a long hash, Redis looks for a field by going through all of them, unless one ever had a value of more than
        -- 64 bytes. It takes four times the memory then, so only one that grows by batches of many fields gets such a value.
        if till > 20 and not old[till] then set('execution_time', string.rep('0', 65)) end
        set('execution_time', format('%.17g', sum + by[1]))
      end
      keep('min', by[2], old[2], true)
      keep('max', by[3], old[3], false)
      keep('last_called_at', by[4], old[4], false)
    end
    for i = math.max(from, 5), till do
      local field, had = fields[i], tonumber(old[i - from + 1] or '0')
      if had and had % 1 == 0 then
        set(field, format('%.0f', had + by[i]))
      else
        bad = bad + 1
      end
    end
    if m > 0 then redis.call('HSET', T, unpack(changed, 1, m)) end
  end
end
return reply('ok', request_flush(waiting + n_entries), bad)
