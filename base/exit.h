/* exit.h - the exit codes of every verb; documented, so that a service manager can tell "restart
 * me" from "do not". The numbers follow sysexits.h where it has one and never change. */
#ifndef BRG_EXIT_H
#define BRG_EXIT_H

enum brg_exit {
    BRG_EXIT_OK = 0,       /* done, or left in order */
    BRG_EXIT_FAILED = 1,   /* the answer is no: a check failed, what was asked for does not exist */
    BRG_EXIT_USAGE = 64,   /* the command line is wrong; do not restart */
    BRG_EXIT_DATA = 65,    /* stored bytes are damaged: store, log or checkpoint; do not restart */
    BRG_EXIT_REFUSED = 69, /* the other side refused this one for good; do not restart */
    BRG_EXIT_IO = 74,      /* disk full or a disk error; make room first */
    BRG_EXIT_TEMPORARY = 75, /* the other side is away, or asked to try later: restart me */
    BRG_EXIT_CONFIG = 78,    /* configuration, key or data file; do not restart */
};

#endif
