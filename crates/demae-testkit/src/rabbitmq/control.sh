# Starts and ends the RabbitMQ node of a folder. The folder holds `environment` (the node's settings,
# written by node.rs), and the process ids of the node and its name server (epmd).
#
#   $1  start | stop | end    $2  the folder
#
# start: returns when the node accepts connections, or fails with the end of its log.
# stop:  the node flushes and leaves, as an administrator's stop.
# end:   node and name server are killed at once.
what=$1
cd "$2" || exit 1
. ./environment

# The number in a process id file, if that process is alive.
alive() {
    pid=$(cat "$1" 2>/dev/null) && [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null && echo "$pid"
}

# Waits until a process is gone, at most $2 tenths of a second.
gone() {
    left=$2
    while kill -0 "$1" 2>/dev/null; do
        [ "$left" -gt 0 ] || return 1
        left=$((left - 1))
        sleep 0.1
    done
}

start() {
    if ! alive epmd.pid >/dev/null; then
        setsid epmd -address 127.0.0.1 -port "$ERL_EPMD_PORT" >/dev/null 2>&1 </dev/null &
        echo $! >epmd.pid
    fi
    rm -f pid
    : >log/node.log
    setsid "$SBIN/rabbitmq-server" >log/start 2>&1 </dev/null &
    starter=$!
    left=900
    until grep -q 'Server startup complete' log/node.log && [ -s pid ]; do
        if [ "$left" -eq 0 ] || ! kill -0 "$starter" 2>/dev/null; then
            tail -n 40 log/start log/node.log >&2
            end
            exit 1
        fi
        left=$((left - 1))
        sleep 0.1
    done
}

stop() {
    if node=$(alive pid); then
        kill -CONT "$node"
        kill -TERM "$node"
        gone "$node" 600 || end
    fi
}

end() {
    for file in pid epmd.pid; do
        if process=$(alive "$file"); then
            kill -KILL "$process"
            gone "$process" 50
        fi
    done
    rm -f pid epmd.pid
}

"$what"
