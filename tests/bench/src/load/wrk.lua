-- One line that is easy to read by a program; times in microseconds.
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("odin-bench requests=%d micros=%d bad=%d p50=%d p99=%d\n", summary.requests, summary.duration,
    e.connect + e.read + e.write + e.status + e.timeout, latency:percentile(50), latency:percentile(99)))
end
