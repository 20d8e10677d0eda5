# Answers with its process id, a little late, or two seconds late at /slow.
run lambda { |env|
  sleep(env['PATH_INFO'] == '/slow' ? 2 : 0.005)
  [200, { 'content-type' => 'text/plain' }, [Process.pid.to_s]]
}
