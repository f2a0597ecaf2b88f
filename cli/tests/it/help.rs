//! The help texts: what a newcomer reads first.

use insta::assert_snapshot;

use crate::device::Device;

#[test]
fn the_help_lists_every_verb() {
    assert_snapshot!(Device::new().run(["--help"]).all(), @r"
    exit 0
    --- stdout
    Keeps one library equal on all of your devices, peer to peer

    Usage: kinsync [OPTIONS] <COMMAND>

    Commands:
      init         Make this device's identity, store and config
      up           Run the node
      down         Stop the node
      status       Show what this device is doing
      pair         Show a code for another device, or enter one: `pair CODE`
      peers        List, inspect and name the devices you paired
      revoke       End the trust in a device, at once and for good
      sync         Exchange changes now
      verify       Check that every device holds the same
      put          Write a record
      append       Add a turn behind all others of a chat, under an id of its own
      get          Print a record's value
      del          Delete a record; `restore` brings it back
      list         List a domain's records, or all domains
      drafts       List, keep or drop texts whose writing was interrupted
      held         Look at mass changes that wait for you, and decide
      watch        Print changes as they happen
      changes      Print what changed in a domain, and where to go on
      history      List the versions of a record
      restore      Bring back an earlier version of a record
      trash        List deleted records, bring one back, or let go of them
      conflicts    List versions that did not know each other, and decide
      undo         Take back what a device has brought
      doctor       Find out what is wrong with this device, its store and its
                   network
      log          Print what the node did
      config       Read and change settings
      import       Read an application's data folder into the library
      domains      List, declare and change the kinds of records
      completions  Print a completion script for a shell
      version      Print the version
      help         Print this message or the help of the given subcommand(s)

    Options:
      -h, --help     Print help
      -V, --version  Print version

    Everywhere:
          --home <DIR>      Keep everything under DIR: store, identity, config, log
                            and socket [env: KINSYNC_HOME]
          --json            Print JSON: one object, or one a line for streams
      -q, --quiet           Print results only
      -v, --verbose...      Say more; twice for details of the network
          --no-color        Print without colours
      -y, --yes             Answer every question with yes
          --timeout <TIME>  Give up after this long: seconds, or 90s, 5m

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 node not running, 4 not paired
    or refused, 5 peer unreachable, 6 code wrong or expired, 7 conflicts left,
    8 held by guard, 9 newer schema, 10 differs.
    --- stderr
    ");
}

#[test]
fn the_help_of_pair_says_where_a_code_may_come_from() {
    assert_snapshot!(Device::new().run(["pair", "--help"]).stdout, @r"
    Show a code for another device, or enter one: `pair CODE`

    Usage: kinsync pair [OPTIONS] [CODE]

    Arguments:
      [CODE]
              The code or ticket that the other device shows; - asks for it

    Options:
          --addr <ADDR>
              Where the other device is: 192.168.1.20, HOST:PORT or a multiaddr

          --expires <TIME>
              How long the code lasts, 30 to 3600 seconds: 300, 90s, 5m

              [default: 300]

          --label <LABEL>
              What the other device shows for this one

          --as <ROLE>
              The most that the other device becomes, or that this one accepts

              Possible values:
              - kin:   Reads and changes everything, adds devices
              - guest: Reads and changes, but adds no devices
              - once:  Until it disconnects; nothing is remembered

          --qr
              Also print the code as a QR ticket

      -h, --help
              Print help (see a summary with '-h')

    What the other device may do here:
          --domains <DOMAIN,…>
              Share only these domains with it, and what is declared

          --read-only
              It may have the records here; nothing is taken from it

          --send-only
              What it sends is taken in; it gets nothing

          --no-delete
              Undo its deletions

          --also <DOMAIN,…>
              Share these as well, which are shared only if both devices ask:
              secrets

    Everywhere:
          --home <DIR>
              Keep everything under DIR: store, identity, config, log and socket

              [env: KINSYNC_HOME]

          --json
              Print JSON: one object, or one a line for streams

      -q, --quiet
              Print results only

      -v, --verbose...
              Say more; twice for details of the network

          --no-color
              Print without colours

      -y, --yes
              Answer every question with yes

          --timeout <TIME>
              Give up after this long: seconds, or 90s, 5m

    Without CODE this device shows one. A code is taken from the argument, from
    KINSYNC_CODE, or with - from a prompt or standard input.
    ");
}

#[test]
fn the_help_of_up_names_the_switches() {
    assert_snapshot!(Device::new().run(["up", "--help"]).stdout, @r"
    Run the node

    Usage: kinsync up [OPTIONS]

    Options:
          --detach              Return once the node runs in the background
          --listen <MULTIADDR>  Listen on this address instead of all interfaces
                                (repeatable)
          --port <PORT>         Listen on this TCP and UDP port; 0 lets the system
                                choose
          --no-mdns             Neither look for devices nor be found over multicast
                                DNS
          --no-quic             Use TCP only
          --lan-only            Stay on the local network, whatever the config says
      -h, --help                Print help

    Everywhere:
          --home <DIR>      Keep everything under DIR: store, identity, config, log
                            and socket [env: KINSYNC_HOME]
          --json            Print JSON: one object, or one a line for streams
      -q, --quiet           Print results only
      -v, --verbose...      Say more; twice for details of the network
          --no-color        Print without colours
      -y, --yes             Answer every question with yes
          --timeout <TIME>  Give up after this long: seconds, or 90s, 5m
    ");
}

#[test]
fn every_help_fits_the_screen() {
    let device = Device::new();
    for verb in VERBS {
        let help = device.run([verb, "--help"]);
        assert_eq!(help.code, 0, "{verb}");
        for line in help.stdout.lines() {
            assert!(line.chars().count() <= 80, "{verb}: {line}");
        }
    }
}

#[test]
fn the_help_of_readiness_says_what_the_words_mean() {
    let device = Device::new();
    let help = device.run(["domains", "readiness", "--help"]).stdout;
    assert_snapshot!(help.rsplit("\n\n").take(2).collect::<Vec<_>>().join("\n"), @r"
    must    without it the records are of no use
    should  without it they are of less use: what needs it is off (disable) or
            works without (ignore)

    Domains declare what their records need, such as a model. Applications say what
    they have at each start. Records travel all the same, and are kept.
    ");
    let help = device.run(["domains", "choose", "--help"]).stdout;
    assert!(help.contains("- without: Go on without it\n"), "{help}");
}

#[test]
fn every_shell_gets_its_completions() {
    let device = Device::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = device.run(["completions", shell]);
        assert_eq!((script.code, script.stderr.as_str()), (0, ""), "{shell}");
        assert!(script.stdout.contains("revoke"), "{shell}");
    }
}

#[test]
fn the_version_is_one_line_or_one_object() {
    let device = Device::new();
    assert!(device.run(["version"]).stdout.starts_with("kinsync VERSION ("));
    assert!(device.run(["version", "--json"]).stdout.starts_with(r#"{"v":1,"version":"VERSION","#));
    assert_eq!(device.run(["--version"]).stdout, "kinsync VERSION\n");
}

const VERBS: &[&str] = &[
    "init",
    "up",
    "down",
    "status",
    "pair",
    "join",
    "peers",
    "revoke",
    "sync",
    "verify",
    "put",
    "append",
    "get",
    "del",
    "list",
    "drafts",
    "held",
    "watch",
    "changes",
    "history",
    "restore",
    "trash",
    "conflicts",
    "undo",
    "doctor",
    "log",
    "config",
    "import",
    "domains",
    "completions",
    "version",
];
