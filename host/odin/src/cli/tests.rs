//! What flags make, and what they say when they are wrong. Must never need a built plugin: files are stand-ins.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::start::TCP_CLUSTER;
use super::*;
use crate::config::Traffic;

fn run(flags: &str) -> Run {
    Cli::try_parse_from(std::iter::once("odin").chain(flags.split_whitespace())).unwrap().run
}

fn refused(flags: &str) -> String {
    let error = Cli::try_parse_from(std::iter::once("odin").chain(flags.split_whitespace())).unwrap_err();
    error.to_string().lines().next().unwrap().to_owned()
}

/// A folder with stand-in plugins, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str, files: &[&str]) -> Self {
        let path = std::env::temp_dir().join(format!("odin-cli-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        files.iter().for_each(|file| std::fs::write(path.join(file), "").unwrap());
        Folder(path)
    }

    fn flags(&self, flags: &str) -> String {
        flags.replace('@', &format!("{}/", self.0.display()))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_config_file_is_named_as_other_proxies_do() {
    for flags in ["-f odin.toml", "--file odin.toml", "-c odin.toml", "--config odin.toml"] {
        assert_eq!(run(flags).file, Some("odin.toml".into()), "{flags}");
    }
}

#[test]
fn the_command_is_well_formed() {
    use clap::CommandFactory;
    Cli::command().debug_assert();
}

#[test]
fn no_flag_at_all_is_the_demo_on_both_default_addresses() {
    let mut start = run("").start().unwrap();
    let addresses: Vec<_> = start.config.listeners.iter().map(|l| format!("{} {}", l.name, l.addresses[0])).collect();
    assert_eq!(addresses, ["web 127.0.0.1:8080", "tcp 127.0.0.1:7000"]);
    assert_eq!(start.demo_clusters, [HTTP_CLUSTER, TCP_CLUSTER]);
    assert_eq!((start.config.admin, start.config.workers), (Some(config::DEFAULT_ADMIN), None));
    start.set_endpoints(HTTP_CLUSTER, ["127.0.0.1:1".parse().unwrap()]);
    assert_eq!(start.config.clusters[HTTP_CLUSTER].endpoints.len(), 1);
}

#[test]
fn each_flag_replaces_its_part_of_the_demo() {
    let start =
        run("-l 127.0.0.1:0 -t 10.0.0.1:80 -t db:81,weight=3 --admin off -w 4 --log-format json").start().unwrap();
    let config = start.config;
    assert_eq!(start.demo_clusters, [""; 0]);
    assert_eq!(config.listeners.len(), 1);
    let targets: Vec<_> =
        config.clusters["web"].endpoints.iter().map(|e| format!("{} {}", e.address, e.weight)).collect();
    assert_eq!(targets, ["10.0.0.1:80 1", "db:81 3"]);
    assert_eq!((config.admin, config.workers, config.access_log.format), (None, Some(4), LogFormat::Json));
    let tcp = run("--tcp 127.0.0.1:7").start().unwrap();
    assert_eq!((tcp.config.listeners.len(), tcp.demo_clusters), (1, vec![TCP_CLUSTER]));
}

#[test]
fn a_flag_takes_ranges_prefixes_and_every_port() {
    let start = run("-l [::]:7000-7999 --tcp 192.0.2.0/24:* --steering bpf").start().unwrap();
    let addresses: Vec<_> = start.config.listeners.iter().map(|l| l.addresses[0].to_string()).collect();
    assert_eq!(addresses, ["[::]:7000-7999", "192.0.2.0/24:*"]);
    assert_eq!(start.config.steering, SteeringMode::Bpf);
    assert_eq!(run("-l 127.0.0.1:0").start().unwrap().config.steering, SteeringMode::Auto);
    // The demo leaves the host's network as it is, unless it is told otherwise.
    assert_eq!(run("").start().unwrap().config.steering, SteeringMode::Bind);
    assert_eq!(run("-t 10.0.0.1:80").start().unwrap().config.steering, SteeringMode::Bind);
    assert_eq!(run("--steering auto").start().unwrap().config.steering, SteeringMode::Auto);
}

#[test]
fn every_command_can_be_told_which_odin_to_ask() {
    let command = |words: &str| {
        Cli::try_parse_from(std::iter::once("odin").chain(words.split_whitespace())).unwrap().command.unwrap()
    };
    let Command::Upgrade { asked } = command("upgrade") else { panic!() };
    assert_eq!(asked.socket, None);
    for words in [
        "upgrade --socket a",
        "reload --socket a",
        "plugin swap lb a.wasm --socket a",
        "steer status --socket a",
        "diff a.toml --socket a",
    ] {
        let asked = match command(words) {
            Command::Upgrade { asked }
            | Command::Reload { asked }
            | Command::Plugin { command: PluginCommand::Swap { asked, .. } }
            | Command::Steer { command: Steer::Status { asked, .. } }
            | Command::Diff { asked, .. } => asked,
            other => panic!("{other:?}"),
        };
        assert_eq!(asked.socket, Some("a".into()), "{words}");
    }
    assert!(refused("diff a.toml --against b.toml --socket a").contains("cannot be used with"));
}

#[test]
fn plugins_are_placed_by_what_they_export() {
    let folder = Folder::new("place", &["lb.wasm", "a.wasm", "b.wasm", "lb2.wasm"]);
    let mut start = run(&folder.flags("-p @b.wasm -p @lb.wasm -p @a.wasm -p @lb2.wasm")).start().unwrap();
    assert_eq!(start.unplaced_plugins, ["b", "lb", "a", "lb2"]);
    let route = Roles { route: true, ..Roles::default() };
    let balancer = Roles { balancer: true, ..Roles::default() };
    start.place_plugin("b", route).unwrap();
    start.place_plugin("lb", balancer).unwrap();
    start.place_plugin("a", route).unwrap();
    let second = start.place_plugin("lb2", balancer).unwrap_err().to_string();
    assert_eq!(second, "--plugin: `lb` and `lb2` are both balancers; use one, or a config file");
    let none = start.place_plugin("lb2", Roles::default()).unwrap_err().to_string();
    assert_eq!(none, "--plugin: `lb2` exports no hook, so it has nothing to do");
    let Traffic::Http { routes, .. } = &start.config.listeners[0].traffic else { panic!() };
    assert_eq!(routes[0].plugins, ["b", "a"]);
    assert!(start.config.clusters.values().all(|cluster| cluster.balancer.as_deref() == Some("lb")));
    assert_eq!(start.unplaced_plugins, ["lb2"]);
    let mut tcp = run(&folder.flags("-p @a.wasm --tcp 127.0.0.1:7")).start().unwrap();
    let error = tcp.place_plugin("a", route).unwrap_err().to_string();
    assert_eq!(error, "--plugin: `a` works on HTTP only, and nothing listens for HTTP");
}

#[test]
fn a_plugin_of_connections_goes_into_the_tcp_listener() {
    let folder = Folder::new("connections", &["a.wasm", "b.wasm"]);
    let connection = Roles { connection: true, ..Roles::default() };
    let both = Roles { route: true, ..connection };
    let mut start = run(&folder.flags("-p @a.wasm -p @b.wasm")).start().unwrap();
    start.place_plugin("a", connection).unwrap();
    start.place_plugin("b", both).unwrap();
    let Traffic::Http { routes, .. } = &start.config.listeners[0].traffic else { panic!() };
    let Traffic::Tcp { plugins, .. } = &start.config.listeners[1].traffic else { panic!() };
    assert_eq!((routes[0].plugins.join(" ").as_str(), plugins.join(" ").as_str()), ("b", "a b"));
    let mut http = run(&folder.flags("-p @a.wasm -p @b.wasm --listen 127.0.0.1:8")).start().unwrap();
    http.place_plugin("b", both).unwrap();
    let error = http.place_plugin("a", connection).unwrap_err().to_string();
    assert_eq!(error, "--plugin: `a` works on TCP only, and nothing listens for TCP");
}

#[test]
fn a_grant_is_for_every_plugin_of_the_command_line_and_none_is_given_unasked() {
    let folder = Folder::new("grant", &["a.wasm", "b.wasm"]);
    let start = run(&folder.flags("-p @a.wasm --grant log,clock -p @b.wasm --grant shared,log")).start().unwrap();
    for plugin in ["a", "b"] {
        assert_eq!(start.config.plugins[plugin].grant, [Grant::Log, Grant::Clock, Grant::Shared].into());
    }
    let start = run(&folder.flags("-p @a.wasm")).start().unwrap();
    assert!(start.config.plugins["a"].grant.is_empty());
}

#[test]
fn a_file_takes_the_flags_that_do_not_contradict_it() {
    let folder = Folder::new("file", &[]);
    let text =
        "admin = 'off'\n[[listeners]]\naddress = '127.0.0.1:1'\ncluster = 'a'\n[clusters.a]\nendpoints = ['a:1']\n";
    std::fs::write(folder.0.join("odin.toml"), text).unwrap();
    let start = run(&folder.flags("-f @odin.toml --admin 127.0.0.1:0 --workers 1")).start().unwrap();
    assert_eq!((start.config.admin, start.config.workers), (Some("127.0.0.1:0".parse().unwrap()), Some(1)));
    let bound = run(&folder.flags("-f @odin.toml --steering bind")).start().unwrap();
    assert_eq!(bound.config.steering, SteeringMode::Bind);
    let error = run(&folder.flags("-f @odin.toml --admin 127.0.0.1:1")).start().unwrap_err().to_string();
    assert_eq!(error, "--admin: 127.0.0.1:1 is taken by the listener `127.0.0.1:1` (127.0.0.1:1); choose another");
}

#[test]
fn what_is_wrong_with_a_flag_is_told() {
    let folder = Folder::new("wrong", &["lb.wasm"]);
    for (flags, expected) in [
        ("--target 127.0.0.1", "`127.0.0.1` has no port; write IP:port or name:port, for example \"127.0.0.1:9000\""),
        ("--target a:1,2", "`2` is not an option of a target; write a:1,weight=2"),
        ("--target a:1,weight=0", "`weight=0` is not a weight; write a number from 1 to 65535"),
        ("--listen 8080", "`8080` is not an address; write IP:port, for example \"127.0.0.1:8080\""),
        ("--admin on", "`on` is not an address; write IP:port, for example \"127.0.0.1:8080\""),
        ("--workers 0", "0 is not in 1..=1024"),
        (
            "-p a.wasm --grant log,metric",
            "nothing is granted by the name `metric`; did you mean `metrics`? \
             (what there is: log, clock, random, config, metrics, shared)",
        ),
        (
            "-p a.wasm --grant outbound",
            "`outbound` is granted in another way; name the clusters that it may call in a config file, \
             as `outbound = [\"auth\"]`",
        ),
    ] {
        assert!(refused(flags).ends_with(expected), "{}", refused(flags));
    }
    assert!(refused("-f a.toml --listen 127.0.0.1:1").contains("cannot be used with"));
    assert!(refused("-f a.toml --grant log").contains("cannot be used with"));
    assert!(refused("--grant log").contains("required arguments were not provided"));
    for (flags, expected) in [
        (
            "-p @no.wasm -p @",
            "--plugin: cannot read @no.wasm: No such file or directory (os error 2)\n--plugin: @ is not a file; name a .wasm file",
        ),
        (
            "-p @lb.wasm -p @lb.wasm",
            "--plugin: a plugin named `lb` is given already; use a config file to name two of them",
        ),
        ("-l 0.0.0.0:1-9 --tcp 0.0.0.0:9-10", "--tcp: 0.0.0.0:9-10 has ports of --listen, 0.0.0.0:1-9; choose others"),
        (
            "-l 0.0.0.0:9000-9999",
            "--admin: 127.0.0.1:9901 is taken by the listener `web` (0.0.0.0:9000-9999); choose another",
        ),
        (
            "--tcp 10.0.0.0/8:1 --steering bind",
            "--steering: 10.0.0.0/8:1 of the listener `tcp` cannot be bound by a socket; use bpf or auto",
        ),
        ("-l 127.0.0.1:1 --tcp 127.0.0.1:1", "--tcp: 127.0.0.1:1 is the address of --listen; choose another"),
    ] {
        assert_eq!(run(&folder.flags(flags)).start().unwrap_err().to_string(), folder.flags(expected));
    }
}
