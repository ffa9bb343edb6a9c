# cmake --install, and a .deb by cpack: the program, man pages and completion out of its own help,
# the systemd units, the documents.
if(BRG_SANITIZE OR BRG_FUZZ OR NOT TARGET brigade)
    return()
endif()
include(GNUInstallDirs)
set(manuals ${PROJECT_BINARY_DIR}/manuals)
install(TARGETS brigade RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
# Made at installation: a plain build does not wait for them.
install(CODE "execute_process(COMMAND ${PROJECT_SOURCE_DIR}/cmake/manuals.sh
    ${PROJECT_BINARY_DIR}/brigade ${manuals} ${PROJECT_VERSION} COMMAND_ERROR_IS_FATAL ANY)")
install(DIRECTORY ${manuals}/man/ DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(DIRECTORY ${manuals}/completion/
    DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
install(DIRECTORY docs/ DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY deploy/ DESTINATION ${CMAKE_INSTALL_DOCDIR}/deploy USE_SOURCE_PERMISSIONS)
install(FILES README.md LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES deploy/systemd/brigade-coordinator.service deploy/systemd/brigade-worker.service
    DESTINATION lib/systemd/system)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_PACKAGE_CONTACT "Brigade maintainers <maintainers@users.noreply.example>")
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "libzmq5 (>= 4.3.4), libprotobuf-c1 (>= 1.4.1), libsodium23,\
 librocksdb7.8, libdnnl2, libyaml-0-2, libcjson1, libcurl4 (>= 7.85), libmicrohttpd12, zlib1g")
include(CPack)
