# pack.cmake - files as arrays of bytes in a C file. Run as a script at build time:
#   cmake -D ROOT=folder -D "PAGES=web/index.html;..." -D OUT=pages.c -P pack.cmake
#
# A page is served by the name of its file; docs/openapi.yaml as /api/v1/openapi.yaml. Its tag is
# the digest of its bytes, so that a browser fetches it again when, and only when, it is another.
set(types_html "text/html; charset=utf-8")
set(types_js "text/javascript; charset=utf-8")
set(types_css "text/css; charset=utf-8")
set(types_yaml "application/yaml")
set(text "/* Made by web/pack.cmake. */\n#include \"coordinator/shell/http_private.h\"\n\n")
set(table "")
set(count 0)
foreach(page IN LISTS PAGES)
    file(READ "${ROOT}/${page}" hex HEX)
    file(SHA256 "${ROOT}/${page}" digest)
    string(SUBSTRING "${digest}" 0 16 digest)
    string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
    string(REGEX REPLACE "(................................................................................)" "\\1\n"
        bytes "${bytes}")
    get_filename_component(name "${page}" NAME)
    get_filename_component(suffix "${page}" LAST_EXT)
    string(SUBSTRING "${suffix}" 1 -1 suffix)
    set(path "/${name}")
    if(suffix STREQUAL "yaml")
        set(path "/api/v1/${name}")
    endif()
    string(APPEND text "static const uint8_t page_${count}[] = {\n${bytes}};\n\n")
    string(APPEND table "    {\"${path}\", \"${types_${suffix}}\", \"\\\"${digest}\\\"\", page_${count}, sizeof page_${count}},\n")
    math(EXPR count "${count} + 1")
endforeach()
string(APPEND text "const struct brg_http_page brg_http_pages[] = {\n${table}};\n")
string(APPEND text "const uint32_t brg_http_page_count = ${count};\n")
file(WRITE "${OUT}" "${text}")
