# WEBrick: ruby webrick.rb PORT. When it stops it calls shutdown() on its listening socket.
require 'webrick'

quiet = WEBrick::Log.new(File::NULL)
server = WEBrick::HTTPServer.new(
  BindAddress: '127.0.0.1', Port: Integer(ARGV[0]), Logger: quiet, AccessLog: []
)
server.mount_proc('/') { |_, response| response.body = "hello from #{Process.pid}\n" }
trap('TERM') { server.shutdown }
trap('INT') { server.shutdown }
server.start
