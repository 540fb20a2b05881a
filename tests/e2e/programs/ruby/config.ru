# A Rack application for puma: puma --bind tcp://127.0.0.1:PORT config.ru
run ->(_) { [200, { 'content-type' => 'text/plain' }, ["hello from #{Process.pid}\n"]] }
