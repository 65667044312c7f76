#!/bin/sh
# Lays packed provider packages (what `terraform providers mirror` made) out as the runner wants them: unpacked, with a checksum beside
# each, so that a build links them and runs no `terraform init` at all.
#
#   lay.sh PACKED OUT
#
#   PACKED/HOST/NAMESPACE/TYPE/terraform-provider-TYPE_VERSION_OS_ARCH.zip
#   OUT/HOST/NAMESPACE/TYPE/VERSION/OS_ARCH/...      the package
#   OUT/HOST/NAMESPACE/TYPE/VERSION/OS_ARCH.h1       its checksum as a lock file has it (golang.org/x/mod, sumdb/dirhash, Hash1)
set -eu
packed=$1 out=$2
mkdir -p "$out"
find "$packed" -name 'terraform-provider-*.zip' | LC_ALL=C sort | while read -r zip; do
  source=$(dirname "${zip#"$packed"/}")
  name=$(basename "$zip" .zip)
  rest=${name#terraform-provider-"$(basename "$source")"_}
  version=${rest%%_*} platform=${rest#*_}
  place=$out/$source/$version/$platform
  mkdir -p "$place"
  unzip -q -o "$zip" -d "$place"
  chmod -R u=rwX,go=rX "$place"
  hex=$(cd "$place" && find . -type f -printf '%P\n' | LC_ALL=C sort | tr '\n' '\0' | xargs -0 sha256sum | sha256sum | cut -d' ' -f1)
  printf 'h1:%s' "$(printf '%s' "$hex" | perl -pe '$_ = pack("H*", $_)' | base64 -w 0)" >"$place.h1"
  echo "$source $version $platform"
done
