# Waits until nobody holds a test server any more, then ends it and removes its folder.
# The protocol of the lock files is told in mod.rs.
#
#   $1  the server's folder    $2  seconds without a holder until the end    $3…  ends the server
folder=$1 linger=$2
shift 2
trap '' HUP INT
cd "$folder" || exit 0

exec 7<>supervisor 8<>gate 9<>holders
flock -n 7 || exit 0 # there is one already

while sleep 1; do
    [ -e "$folder/gate" ] || exit 0 # removed by somebody's hand
    flock -n 8 || continue
    if flock -n 9; then
        idle=$(($(date +%s) - $(stat -c %Y holders)))
        if [ "$idle" -ge "$linger" ]; then
            "$@"
            cd / && rm -rf "$folder"
            exit 0
        fi
        flock -u 9
    fi
    flock -u 8
done
