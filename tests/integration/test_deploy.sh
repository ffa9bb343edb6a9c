#!/bin/bash
# What hands Brigade to other people's machinery: each file is checked by the tool at hand that knows
# its form, and the times in them leave room for a drain.
. "$(dirname "$0")/lib.sh"
top=$(cd "$(dirname "$0")/../.." && pwd -P)
checked=()

# ---- systemd: the units, with a program that exists in the place of ours ----
if command -v systemd-analyze >/dev/null; then
    for unit in coordinator worker; do
        sed 's|/usr/bin/brigade|/bin/true|' "$top/deploy/systemd/brigade-$unit.service" \
            >"$work/brigade-$unit.service"
        said=$(timeout 30 systemd-analyze verify --man=no "$work/brigade-$unit.service" 2>&1) || true
        ! grep -q "brigade-$unit" <<<"$said" || fail "systemd-analyze: $said"
    done
    checked+=(systemd)
fi

# ---- YAML that its readers can read, without the same key twice ----
if python3 -c 'import yaml' 2>/dev/null; then
    python3 - "$top" <<'PYTHON' || fail "a file of deploy/ or docker/ is not what it should be"
import glob
import sys

import yaml


class Strict(yaml.SafeLoader):
    pass


def mapping(loader, node, deep=False):
    keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
    assert len(keys) == len(set(keys)), f"{node.start_mark}: the same key twice"
    return yaml.SafeLoader.construct_mapping(loader, node, deep)


Strict.add_constructor("tag:yaml.org,2002:map", mapping)
root = sys.argv[1]
kinds = {}
for path in glob.glob(f"{root}/deploy/**/*.yaml", recursive=True) + glob.glob(f"{root}/docker/*.yaml"):
    with open(path, encoding="utf-8") as file:
        for document in yaml.load_all(file, Strict):
            assert isinstance(document, dict), path
            if "kubernetes" in path:
                assert {"apiVersion", "kind", "metadata"} <= document.keys(), path
                kinds.setdefault(document["kind"], []).append(document)
for kind in ("StatefulSet", "Deployment"):
    spec = kinds[kind][0]["spec"]
    labels = spec["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"] == labels, f"{kind}: selector and labels differ"
    pod = spec["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] >= 30, f"{kind}: no time for a drain of 25 s"
    volumes = {v["name"] for v in pod["volumes"]}
    volumes |= {v["metadata"]["name"] for v in spec.get("volumeClaimTemplates", [])}
    for container in pod["containers"]:
        mounted = {m["name"] for m in container["volumeMounts"]}
        assert mounted == volumes, f"{kind}: mounts {mounted}, volumes {volumes}"
assert kinds["Service"][0]["spec"]["selector"] == {"app": "brigade-coordinator"}
assert kinds["StatefulSet"][0]["spec"]["serviceName"] == kinds["Service"][0]["metadata"]["name"]
PYTHON
    checked+=(yaml kubernetes)
fi

# ---- compose: each overlay, by compose itself ----
compose=
if docker compose version >/dev/null 2>&1; then compose="docker compose"; fi
if command -v docker-compose >/dev/null; then compose=docker-compose; fi
if [ -n "$compose" ]; then
    for overlay in "" compose.faults.yaml compose.gpu.yaml compose.observe.yaml; do
        # shellcheck disable=SC2086 # two words, or none
        timeout 30 $compose -f "$top/docker/compose.yaml" \
            ${overlay:+-f "$top/docker/$overlay"} config -q || fail "compose refuses $overlay"
    done
    checked+=(compose)
fi

# ---- times: whoever stops a worker waits longer than it may drain ----
drain_s=$("$BRIGADE" worker --help | grep -A6 -e --drain-timeout | grep -o 'Default: [0-9]*s' |
    tr -dc '0-9')
for grace_s in $(sed -n 's/^TimeoutStopSec=\([0-9]*\)s$/\1/p' "$top/deploy/systemd"/*.service) \
    $(sed -n 's/.*stop_grace_period: \([0-9]*\)s.*/\1/p' "$top/docker"/compose*.yaml); do
    [ "$grace_s" -gt "$drain_s" ] || fail "a grace of $grace_s s for a drain of $drain_s s"
done

# ---- the image builds from the same packages as ./check, and has the libraries it needs ----
# shellcheck source=../../cmake/setup.sh
packages=$(cd "$top" && . cmake/setup.sh && echo "$packages_build")
for package in $packages; do
    case $package in *-dev) ;; *) continue ;; esac
    grep -qw -e "$package" "$top/docker/Dockerfile" || fail "docker/Dockerfile lacks $package"
done
checked+=(packages)

# ---- manuals and completion come out of the help ----
"$top/cmake/manuals.sh" "$BRIGADE" "$work/manuals" 0.0
for page in "" -worker -token-create -workers-drain; do
    [ -s "$work/manuals/man/brigade$page.1" ] || fail "there is no page brigade$page.1"
    grep -q '^\.SH DESCRIPTION' "$work/manuals/man/brigade$page.1" || [ -z "$page" ] ||
        fail "brigade$page.1 has no description"
done
if command -v mandoc >/dev/null; then
    mandoc -T lint -W error "$work"/manuals/man/*.1 || fail "mandoc finds errors"
    checked+=(mandoc)
fi
# offered WORD...: what is offered for the last of them.
offered() {
    bash -c '. "$1"; shift; COMP_WORDS=(brigade "$@"); COMP_CWORD=$#; _brigade
        printf "%s\n" "${COMPREPLY[@]}"' - "$work/manuals/completion/brigade" "$@"
}
[ "$(offered worker --drain)" = --drain-timeout ] || fail "worker --drain is not completed"
[ "$(offered subm)" = submit ] || fail "subm is not completed"
[ "$(offered token create --exp)" = --expires ] || fail "token create --exp is not completed"
checked+=(manuals completion)
echo "checked: ${checked[*]}"
