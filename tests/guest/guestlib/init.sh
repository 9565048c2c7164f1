#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The guest's first and only program: loads modules, then obeys the host over two serial lines.
#   ttyS1, in:  NUMBER COMMAND, a line            out: R NUMBER STATUS LENGTH, then LENGTH bytes of output
#   ttyS2, out: J NUMBER STATUS                   a command that runs in the background has ended
# The output of background command N is in /run/job.N, its process id in /run/pid.N.

export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm /dev/pts
mount -t tmpfs shm /dev/shm
mount -t devpts pts /dev/pts

exec 3<>/dev/ttyS1 4>/dev/ttyS2
stty -F /dev/ttyS1 115200 raw -echo
stty -F /dev/ttyS2 115200 raw -echo

# The shell prefers its own applets to programs; these programs can do more.
blkdiscard() { /bin/blkdiscard "$@"; }
fstrim() { /bin/fstrim "$@"; }

# Loads a list of modules, those that are there already excepted.
load() {
	while read -r module; do
		[ -d "/sys/module/$module" ] || insmod "/modules/$module.ko" || return
	done < "/modules/$1"
}

# Runs a command so that the host goes on meanwhile and hears of its end.
job() {
	(
		sh -c "$2" > "/run/job.$1" 2>&1 < /dev/null 3>&- 4>&- &
		echo $! > "/run/pid.$1"
		wait $!
		echo "J $1 $?" >&4
	) &
	while [ ! -s "/run/pid.$1" ]; do :; done
}

# Returns when disk $1 has completed $2 more requests; fails when the process $3 ends before.
progress() {
	read -r reads _ _ _ writes _ < "/sys/block/$1/stat"
	wanted=$((reads + writes + $2))
	while [ $((reads + writes)) -lt "$wanted" ]; do
		kill -0 "$3" || return
		read -r reads _ _ _ writes _ < "/sys/block/$1/stat"
	done
}

# Ends the machine; its status reaches the host as QEMU's exit status, shifted left by one, plus one.
leave() {
	# shellcheck disable=SC2059 # the number is the format
	printf "\\$(printf %03o "$1")" | dd of=/dev/port bs=1 seek=244 2> /dev/null
	poweroff -f
}

obey() {
	echo "H $(uname -r)" >&3
	while read -r number command <&3; do
		(eval "$command") > /run/out 2>&1 < /dev/null
		status=$?
		if [ -s /run/out ]; then
			echo "R $number $status $(stat -c %s /run/out)"
			cat /run/out
		else
			echo "R $number $status 0"
		fi >&3
	done
}

# Not in process 1: orphans end up there, and the shell's `read` forgets half a line when a child ends meanwhile.
load boot
obey &
wait
