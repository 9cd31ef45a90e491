"""Every change of more than one key, as a Lua script: it happens whole, or not at all.

Keys (all begin with `qbt_rules:`):

    queue:pending      LIST   ids, the next one on the left
    queue:processing   LIST   ids, at most one
    queue:waiting:{n}  SET    ids of pending jobs with the same context, hash and dry_run (in n)
    jobs:{id}          HASH   the job; a field that has no value is not there
    jobs:status:{s}    SET    ids
    jobs:context:{c}   SET    ids
    jobs:by_time       ZSET   ids by created_at (unix seconds)
    jobs:by_end        ZSET   ids of completed and failed jobs by completed_at
    worker             HASH   the seat; its lease is counted on the clock of the Redis server
    schedule           HASH   schedule entry → moment up to which it is done with
    schedule:timing    HASH   schedule entry → what it says about its times
"""

from __future__ import annotations

FIELDS = (
    *("id", "context", "hash", "status", "created_at", "started_at", "completed_at", "error"),
    *("dry_run", "requests", "attempts", "interruptions", "worker"),
)

PRELUDE = """
local P = 'qbt_rules:'
local PENDING, PROCESSING = P .. 'queue:pending', P .. 'queue:processing'
local SEAT, SCHEDULE, TIMINGS = P .. 'worker', P .. 'schedule', P .. 'schedule:timing'
local BY_TIME, BY_END = P .. 'jobs:by_time', P .. 'jobs:by_end'
local STATUSES = {'pending', 'processing', 'completed', 'failed', 'cancelled'}
local call = redis.call

local function job_key(id) return P .. 'jobs:' .. id end
local function status_key(status) return P .. 'jobs:status:' .. status end
local function context_key(context) return P .. 'jobs:context:' .. context end
-- One text is read several times faster than an answer of two dozen parts.
local function whole(id) return cjson.encode(call('HGETALL', job_key(id))) end

local function lease_clock(given)  -- milliseconds
  if given ~= '' then return tonumber(given) end
  local time = call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function waiting_key(dry_run, hash, context)
  return P .. 'queue:waiting:' .. dry_run .. '|' .. #hash .. '|' .. hash .. '|' .. context
end

local function waiting_key_of(id)
  local seen = call('HMGET', job_key(id), 'dry_run', 'hash', 'context')
  return waiting_key(seen[1] or '0', seen[2] or '', seen[3] or '')
end

local function move(id, from, to)
  call('SMOVE', status_key(from), status_key(to), id)
  call('HSET', job_key(id), 'status', to)
end

local function put_first(id)
  call('LPUSH', PENDING, id)
  call('SADD', waiting_key_of(id), id)
  call('HDEL', job_key(id), 'started_at')
end

-- Take processing jobs away from workers that are gone: all but keep's, or only of's.
local function reclaim(keep, of, most, moment, score, why)
  local moved = {}
  for _, id in ipairs(call('LRANGE', PROCESSING, 0, -1)) do
    local seen = call('HMGET', job_key(id), 'worker', 'attempts', 'id')
    local worker, attempts = seen[1] or '', tonumber(seen[2] or '0')
    if not seen[3] then  -- removed by hand
      call('LREM', PROCESSING, 0, id)
    elseif worker ~= keep and (of == '' or worker == of) then
      call('LREM', PROCESSING, 0, id)
      if attempts >= tonumber(most) then
        move(id, 'processing', 'failed')
        call('HSET', job_key(id), 'completed_at', moment, 'error', why)
        call('ZADD', BY_END, score, id)
      else
        move(id, 'processing', 'pending')
        put_first(id)
      end
      moved[#moved + 1] = whole(id)
    end
  end
  return moved
end

local function live_seat(now)
  local seen = call('HMGET', SEAT, 'id', 'lease_until')
  if seen[1] and tonumber(seen[2]) > now then return seen[1] end
  return nil
end

local function held(id, worker, attempts, status)
  local seen = call('HMGET', job_key(id), 'worker', 'attempts', 'status')
  return seen[1] == worker and seen[2] == attempts and seen[3] == status
end
"""

# ARGV: id, context, hash, dry_run, created_at, score, coalesce, entry, due, impossible, missed
ENQUEUE = """
local id, context, hash, dry_run = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if call('EXISTS', job_key(id)) == 1 then return whole(id) end  -- a repeated call
if ARGV[8] ~= '' then
  local last = call('HGET', SCHEDULE, ARGV[8])
  if ARGV[11] == '1' then
    if not last or last >= ARGV[9] then return '' end
  elseif last and last >= ARGV[9] and last <= ARGV[10] then
    return ''
  end
  call('HSET', SCHEDULE, ARGV[8], ARGV[9])
end
if ARGV[7] == '1' then
  local waiting = waiting_key(dry_run, hash, context)
  local other = call('SRANDMEMBER', waiting)
  while other and call('EXISTS', job_key(other)) == 0 do  -- removed by hand
    call('SREM', waiting, other)
    other = call('SRANDMEMBER', waiting)
  end
  if other then
    call('HINCRBY', job_key(other), 'requests', 1)
    return whole(other)
  end
end
call('HSET', job_key(id), 'id', id, 'status', 'pending', 'created_at', ARGV[5],
     'dry_run', dry_run, 'requests', '1', 'attempts', '0')
if context ~= '' then
  call('HSET', job_key(id), 'context', context)
  call('SADD', context_key(context), id)
end
if hash ~= '' then call('HSET', job_key(id), 'hash', hash) end
call('SADD', status_key('pending'), id)
call('ZADD', BY_TIME, ARGV[6], id)
call('SADD', waiting_key(dry_run, hash, context), id)
call('RPUSH', PENDING, id)
-- A worker that has a job looks by itself when it is done; one that waits saw an empty queue.
if call('LLEN', PENDING) == 1 and call('LLEN', PROCESSING) == 0 then
  call('PUBLISH', P .. 'queue:bell', '')
end
return whole(id)
"""

# ARGV: since, impossible, then entry, timing…
NOTE = """
for n = 3, #ARGV, 2 do
  local entry, timing = ARGV[n], ARGV[n + 1]
  local due, before = call('HGET', SCHEDULE, entry), call('HGET', TIMINGS, entry)
  if not due or (before and before ~= timing and (due < ARGV[1] or due > ARGV[2])) then
    call('HSET', SCHEDULE, entry, ARGV[1])
  end
  call('HSET', TIMINGS, entry, timing)
end
return 1
"""

# ARGV: worker, host, pid, lease (ms), moment, score, claim, now, most, why
DEQUEUE = """
local me, claim, moment = ARGV[1], ARGV[7], ARGV[5]
local now = lease_clock(ARGV[8])
local holder = live_seat(now)
if holder and holder ~= me then return '' end
local last = call('HMGET', SEAT, 'id', 'claim', 'claimed')
if last[1] == me and last[2] == claim
  and call('HGET', job_key(last[3]), 'status') == 'processing' then
  return whole(last[3])  -- a repeated call
end
if holder and call('LLEN', PENDING) == 0 then return '' end
if last[1] ~= me then
  call('DEL', SEAT)
  call('HSET', SEAT, 'since', moment)
end
call('HSET', SEAT, 'id', me, 'host', ARGV[2], 'pid', ARGV[3], 'seen_at', moment,
     'lease_until', string.format('%.0f', now + tonumber(ARGV[4])))
reclaim(me, '', ARGV[9], moment, ARGV[6], ARGV[10])
if call('LLEN', PROCESSING) > 0 then return '' end
local id = call('LMOVE', PENDING, PROCESSING, 'LEFT', 'RIGHT')
while id and call('EXISTS', job_key(id)) == 0 do  -- removed by hand
  call('LREM', PROCESSING, 0, id)
  id = call('LMOVE', PENDING, PROCESSING, 'LEFT', 'RIGHT')
end
if not id then return '' end
call('SREM', waiting_key_of(id), id)
move(id, 'pending', 'processing')
call('HSET', job_key(id), 'started_at', moment, 'worker', me)
call('HINCRBY', job_key(id), 'attempts', 1)
call('HSET', SEAT, 'claim', claim, 'claimed', id)
return whole(id)
"""

# ARGV: worker, lease (ms), moment, now
RENEW = """
if call('HGET', SEAT, 'id') ~= ARGV[1] then return 0 end
call('HSET', SEAT, 'seen_at', ARGV[3],
     'lease_until', string.format('%.0f', lease_clock(ARGV[4]) + tonumber(ARGV[2])))
return 1
"""

# ARGV: id, worker, attempts, status, completed_at, score, field ("result" or "error"), text
END = """
local id, to = ARGV[1], ARGV[4]
if held(id, ARGV[2], ARGV[3], to) then return whole(id) end  -- a repeated call
if not held(id, ARGV[2], ARGV[3], 'processing') then return '' end
call('LREM', PROCESSING, 0, id)
move(id, 'processing', to)
call('HSET', job_key(id), 'completed_at', ARGV[5], ARGV[7], ARGV[8])
call('ZADD', BY_END, ARGV[6], id)
return whole(id)
"""

# ARGV: those of END, those of DEQUEUE → {job that ended, next job}
END_AND_DEQUEUE = f"""
local function finish(ARGV) {END} end
local function take(ARGV) {DEQUEUE} end
local done = finish(ARGV)
if done == '' then return {{'', ''}} end
local rest = {{}}
for n = 9, #ARGV do rest[n - 8] = ARGV[n] end
return {{done, take(rest)}}
"""

# ARGV: id, worker, attempts, moment, score, most, why; most: "" when it was not under way
RELEASE = """
local id = ARGV[1]
if not held(id, ARGV[2], ARGV[3], 'processing') then return '' end
call('LREM', PROCESSING, 0, id)
call('HINCRBY', job_key(id), 'attempts', -1)
local most = tonumber(ARGV[6])
if most and call('HINCRBY', job_key(id), 'interruptions', 1) >= most then
  move(id, 'processing', 'failed')
  call('HSET', job_key(id), 'completed_at', ARGV[4], 'error', ARGV[7])
  call('ZADD', BY_END, ARGV[5], id)
else
  move(id, 'processing', 'pending')
  put_first(id)
end
return whole(id)
"""

# ARGV: worker, moment, score, most, why
LEAVE = """
if call('HGET', SEAT, 'id') == ARGV[1] then call('DEL', SEAT) end
return reclaim('', ARGV[1], ARGV[4], ARGV[2], ARGV[3], ARGV[5])
"""

# ARGV: moment, score, most, why, now
REAP = """
local holder = live_seat(lease_clock(ARGV[5]))
if not holder then call('DEL', SEAT) end
return reclaim(holder or '', '', ARGV[3], ARGV[1], ARGV[2], ARGV[4])
"""

# ARGV: id, moment → {status before, job…}
CANCEL = """
local id = ARGV[1]
local status = call('HGET', job_key(id), 'status')
if not status then return {''} end
if status ~= 'pending' then return {status} end
call('LREM', PENDING, 0, id)
call('SREM', waiting_key_of(id), id)
move(id, 'pending', 'cancelled')
call('HSET', job_key(id), 'completed_at', ARGV[2])
return {status, whole(id)}
"""

# ARGV: score, moment, most: created and ended before
CLEAN_UP = """
local removed, skipped, most = 0, 0, tonumber(ARGV[3])
while removed < most do
  local ids = call('ZRANGEBYSCORE', BY_TIME, '-inf', '(' .. ARGV[1], 'LIMIT', skipped, 100)
  if #ids == 0 then break end
  for _, id in ipairs(ids) do
    local seen = call('HMGET', job_key(id), 'status', 'completed_at', 'context')
    local ended = not seen[1] or (seen[2] and seen[2] < ARGV[2])
    if ended and removed < most then
      call('DEL', job_key(id))
      for _, status in ipairs(seen[1] and {seen[1]} or STATUSES) do
        call('SREM', status_key(status), id)
      end
      if seen[3] then call('SREM', context_key(seen[3]), id) end
      call('ZREM', BY_TIME, id)
      call('ZREM', BY_END, id)
      removed = removed + 1
    else
      skipped = skipped + 1
    end
  end
end
return removed
"""

# ARGV: limit, offset, then keys of the sets that a job must be in → {total, {fields…}…}
PAGE = """
local limit, offset = tonumber(ARGV[1]), tonumber(ARGV[2])
local sets = {}
for n = 3, #ARGV do sets[#sets + 1] = ARGV[n] end
local ids, total = {}, 0
if #sets == 0 then
  total = call('ZCARD', BY_TIME)
  ids = call('ZREVRANGE', BY_TIME, offset, offset + limit - 1)
else
  local smallest
  for _, key in ipairs(sets) do
    local size = call('SCARD', key)
    if not smallest or size < smallest then smallest = size end
  end
  if smallest <= 200 then  -- sort the few there are
    local command = {'ZINTER', #sets + 1, BY_TIME, unpack(sets)}
    command[#command + 1] = 'WEIGHTS'
    command[#command + 1] = 1
    for _ = 1, #sets do command[#command + 1] = 0 end
    local fitting = call(unpack(command))
    total = #fitting
    for n = total - offset, math.max(1, total - offset - limit + 1), -1 do
      ids[#ids + 1] = fitting[n]
    end
  else  -- walk down from the newest: with so many, the next one is near
    total = #sets == 1 and smallest or call('SINTERCARD', #sets, unpack(sets))
    local seen, from = 0, 0
    while #ids < limit and seen < total do
      local some = call('ZREVRANGE', BY_TIME, from, from + 499)
      if #some == 0 then break end
      from = from + 500
      for _, id in ipairs(some) do
        local fits = true
        for _, key in ipairs(sets) do
          if call('SISMEMBER', key, id) == 0 then fits = false break end
        end
        if fits then
          seen = seen + 1
          if seen > offset and #ids < limit then ids[#ids + 1] = id end
        end
      end
    end
  end
end
local page = {total}
for _, id in ipairs(ids) do
  page[#page + 1] = call('HMGET', job_key(id), unpack(FIELDS))
end
return page
""".replace("unpack(FIELDS)", ", ".join(f"'{name}'" for name in FIELDS))
