#include "cli/cli.h"
#include "proto/keys.h"

static const struct brg_cli_flag flags[] = {
    {.name = "show", .text = "Make nothing: print the public key of the key file that is there."},
};

static const struct brg_cli_verb verb = {
    .name = "keygen",
    .arguments = "FILE",
    .summary = "make a key file, or show a key",
    .about = "Makes a new key pair, writes it to FILE (mode 0600) and prints the public key. A\n"
             "file that exists is never overwritten.\n"
             "\n"
             "Coordinator and workers make their own keys when they first start; this verb is\n"
             "for keys that are to be known beforehand: make one, let the operator run\n"
             "'brigade workers allow KEY', and start the worker with it, without a token.\n"
             "The public key is no secret. It may hold characters that a shell reads: write it\n"
             "in single quotes.\n",
    .examples = "$ brigade keygen worker.key\n"
                "$ brigade keygen --show worker.key\n"
                "$ brigade workers allow \"$(brigade keygen --show worker.key)\"\n",
    .arguments_min = 1,
    .arguments_max = 1,
    .flag_count = 1,
    .flags = flags,
};

int brg_cli_keygen(int argc, char **argv) {
    struct brg_cli_args args;
    struct brg_keypair key = {.secret = NULL};
    struct brg_why why;
    char text[BRG_KEY_TEXT_BYTES];

    int rc = brg_cli_parse(&verb, argc, argv, &args);
    if (rc != BRG_CLI_GO) return rc;
    const char *path = args.arguments[0];
    if (brg_cli_given(&args, "show")) {
        rc = brg_keyfile_load(path, &key, &why);
    } else {
        rc = brg_keypair_create(&key, &why);
        if (rc == BRG_OK) rc = brg_keyfile_save(path, &key, &why);
    }
    if (rc == BRG_OK) {
        printf("%s\n", brg_key_format(&key.public_key, text));
    } else {
        /* A damaged key file is a matter of configuration: there is no store to look after. */
        rc = brg_cli_fail(&verb, rc == BRG_ECORRUPT ? BRG_EXIT_CONFIG : brg_cli_exit_of(rc), "%s",
                          why.text);
    }
    brg_keypair_wipe(&key);
    return rc;
}
