<?php // PHP's own server: php -S 127.0.0.1:PORT index.php
echo 'hello from ', getmypid(), "\n";
