#!/bin/sh
# Copies what an image needs of the Debian packages that are installed here into a directory: libraries, certificates,
# licences, and each package's record, where scanners of images look for it (/var/lib/dpkg/status.d).
#
#   hack/image-root.sh DIR PACKAGE...     (in the Dockerfile's stage `packages`)
set -eu
root=$1
shift
mkdir -p "$root/etc/ssl/certs" "$root/tmp" "$root/var/lib/dpkg/status.d"
chmod 1777 "$root/tmp"
for package; do
  dpkg -s "$package" >"$root/var/lib/dpkg/status.d/$package"
  mkdir -p "$root/usr/share/doc/$package"
  cp -L "/usr/share/doc/$package/copyright" "$root/usr/share/doc/$package/"
  # Libraries alone: conversion tables, auditors and helpers are for other programs than ours.
  dpkg -L "$package" | grep -E '^(/usr)?/lib(64)?/.*\.so(\.[0-9]+)*$' | grep -v -e /gconv/ -e /audit/ | while read -r path; do
    mkdir -p "$root$(dirname "$path")"
    cp -P "$path" "$root$path"
  done
done
# All authorities in one file, as update-ca-certificates makes it.
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
printf 'root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n' >"$root/etc/passwd"
printf 'root:x:0:\nnonroot:x:65532:\n' >"$root/etc/group"
printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
