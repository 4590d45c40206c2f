-- Prints wrk's totals as one JSON line. With a file as argument, every answer is compared with its content;
-- that costs the load core time, so the measured seconds do without and count bytes instead.
local expected, threads = nil, {}

function setup(thread)
   table.insert(threads, thread)
end

function init(arguments)
   wrong = 0
   if not arguments[1] then return end
   local file = assert(io.open(arguments[1], "rb"))
   expected = file:read("*a")
   file:close()
   response = function(status, headers, body)
      if status ~= 200 or body ~= expected then wrong = wrong + 1 end
   end
end

function done(summary, latency, requests)
   local wrong_bodies = 0
   for _, thread in ipairs(threads) do wrong_bodies = wrong_bodies + thread:get("wrong") end
   local e = summary.errors
   io.write(string.format(
      '\nREPORT {"requests":%d,"duration_us":%d,"bytes":%d,"p50_us":%d,"p99_us":%d,"max_us":%d,' ..
      '"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d,"wrong_bodies":%d}\n',
      summary.requests, summary.duration, summary.bytes, latency:percentile(50), latency:percentile(99),
      latency.max, e.connect, e.read, e.write, e.status, e.timeout, wrong_bodies))
end
