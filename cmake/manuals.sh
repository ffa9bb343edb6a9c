#!/bin/sh
# manuals.sh BRIGADE FOLDER VERSION - man pages and a bash completion, out of the program's own help,
# so that they cannot say anything else. FOLDER/man/brigade-VERB.1, FOLDER/completion/brigade.
set -eu
brigade=$1
out=$2
version=$3
mkdir -p "$out/man" "$out/completion"

# The verbs, as 'brigade help' lists them: four blanks, the verb, two blanks or more.
verbs=$("$brigade" help | sed -n 's/^    \([a-z][a-z-]*\)  .*/\1/p')

# words VERB: the second words of a verb that has them, such as token create.
words() {
    "$brigade" "$1" --help | sed -n '/^WORDS/,/^$/s/^    \([a-z][a-z-]*\)  .*/\1/p'
}

# page NAME: the help on standard input as a page: capitals begin a section, the rest stays as it is.
page() {
    printf '.TH "%s" 1 "" "brigade %s" "Brigade"\n' "$(echo "$1" | tr '[:lower:]' '[:upper:]')" \
        "$version"
    [ "$2" = "" ] || printf '.SH NAME\n%s \\- %s\n' "$1" "$2"
    sed -e 's/\\/\\e/g' -e 's/^\([.'"'"']\)/\\\&\1/' -e 's/-/\\-/g' |
        awk '/^NAME$/ { print ".SH NAME"; getline; sub(/^ +brigade /, "brigade\\-");
                        head = $0; sub(/ \\- .*/, "", head); gsub(/ /, "\\-", head)
                        tail = $0; sub(/^.* \\- /, "", tail); print head " \\- " tail; next }
             /^[A-Z][A-Z ]+$/ { if (open) print ".fi"; print ".SH " $0 "\n.nf"; open = 1; next }
             { sub(/^    /, ""); print }
             END { if (open) print ".fi" }'
}

"$brigade" help | page brigade "trains neural networks on machines that are slow, vanish or lie" \
    >"$out/man/brigade.1"
for verb in $verbs; do
    list=$(words "$verb")
    if [ -z "$list" ]; then
        "$brigade" "$verb" --help | page "brigade-$verb" "" >"$out/man/brigade-$verb.1"
        continue
    fi
    "$brigade" "$verb" --help | page "brigade-$verb" "see its words below" \
        >"$out/man/brigade-$verb.1"
    for word in $list; do
        "$brigade" "$verb" "$word" --help | page "brigade-$verb-$word" "" \
            >"$out/man/brigade-$verb-$word.1"
    done
done

flags() { "$brigade" "$@" --help | sed -n 's/^    \(--[a-z-]*\).*/\1/p' | tr '\n' ' '; }
{
    echo "# bash completion for brigade, generated from its help."
    echo "_brigade() {"
    echo "    local word=\${COMP_WORDS[COMP_CWORD]} verb=\${COMP_WORDS[1]:-} sub=\${COMP_WORDS[2]:-}"
    echo "    local choice="
    echo "    if [ \"\$COMP_CWORD\" -eq 1 ]; then"
    echo "        choice=\"$(echo "$verbs" | tr '\n' ' ')help\""
    echo "    else"
    echo "        case \$verb in"
    for verb in $verbs; do
        list=$(words "$verb" | tr '\n' ' ')
        if [ -z "$list" ]; then
            echo "        $verb) choice=\"$(flags "$verb")\" ;;"
            continue
        fi
        echo "        $verb)"
        echo "            choice=\"$list\""
        echo "            case \$sub in"
        for word in $list; do echo "            $word) choice=\"$(flags "$verb" "$word")\" ;;"; done
        echo "            esac"
        echo "            ;;"
    done
    echo "        esac"
    echo "    fi"
    echo "    mapfile -t COMPREPLY < <(compgen -W \"\$choice\" -- \"\$word\")"
    echo "    [ \"\${#COMPREPLY[@]}\" -gt 0 ] || mapfile -t COMPREPLY < <(compgen -f -- \"\$word\")"
    echo "}"
    echo "complete -o filenames -F _brigade brigade"
} >"$out/completion/brigade"
