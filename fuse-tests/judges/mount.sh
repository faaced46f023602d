#!/bin/sh
# What pjdfstest finds as `mount`: the kernel's remount itself, without the helper that mounts the type afresh.
# A name that was removed a moment ago may still be held by a case that is ending: that passes.
for _ in $(seq 100); do
  PATH=/bin:/sbin:/usr/bin:/usr/sbin mount -i "$@" && exit 0
  sleep 0.05
done
exit 1
