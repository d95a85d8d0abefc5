# Waits until nobody holds a test cluster any more, then stops it and removes its folder.
# The protocol of the lock files is told in supervised.rs.
#
#   $1  the cluster's folder    $2  pg_ctl    $3  seconds without a holder until the end
folder=$1 pg_ctl=$2 linger=$3
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
            "$pg_ctl" --pgdata=data --silent --mode=immediate --wait stop
            cd / && rm -rf "$folder"
            exit 0
        fi
        flock -u 9
    fi
    flock -u 8
done
