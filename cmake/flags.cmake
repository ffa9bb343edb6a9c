# Language, warnings and sanitizers; every target of the project gets them through brg_flags.
set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
# Assertions are part of the product: no build type may switch them off.
set(CMAKE_C_FLAGS_RELEASE "-O2 -g1")
set(CMAKE_C_FLAGS_DEBUG "-O1 -g")

add_library(brg_flags INTERFACE)
target_compile_definitions(brg_flags INTERFACE _GNU_SOURCE)
target_include_directories(brg_flags INTERFACE ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR})
target_compile_options(brg_flags INTERFACE
    -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes
    -Wvla -Werror -fno-omit-frame-pointer -ffp-contract=off)
if(BRG_SANITIZE)
    target_compile_options(brg_flags INTERFACE -fsanitize=${BRG_SANITIZE} -fno-sanitize-recover=all)
    target_link_options(brg_flags INTERFACE -fsanitize=${BRG_SANITIZE})
endif()
if(BRG_FUZZ)
    # Every object counts the branches it takes; the runtime of libFuzzer joins in tests/fuzz.
    target_compile_options(brg_flags INTERFACE -fsanitize=fuzzer-no-link)
    target_link_options(brg_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

# brg_library(NAME [libraries it may use]): every .c file of the current folder, as brg_NAME.
function(brg_library name)
    file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.c)
    if(NOT sources)
        add_library(brg_${name} INTERFACE)
        target_link_libraries(brg_${name} INTERFACE brg_flags ${ARGN})
        return()
    endif()
    add_library(brg_${name} STATIC ${sources})
    target_link_libraries(brg_${name} PUBLIC brg_flags ${ARGN})
endfunction()
