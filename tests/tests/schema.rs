//! `odin schema` by a validator that knows nothing of Odin: it takes every config of the tree, and refuses what Odin
//! refuses, but for what a schema cannot know.

use odin_tests::paths;
use odin_tests::schema::{self, Schema};
use serde_json::Value;

#[path = "../../host/odin/src/config/tests/cases/read.rs"]
mod read;

/// What a schema cannot know, by the words of Odin's errors.
const UNKNOWABLE: &[&str] = &[
    // Names that are defined elsewhere, and files.
    "no cluster is named",
    "no plugin is named",
    "cannot read",
    "is not a file",
    // What fits or does not fit with others of its kind.
    "is taken by",
    "the admin pages",
    "is also the name of",
    "matches the same ",
    "is in the list already, on line",
    "has ports that",
    "cannot be bound",
    "gives this space",
    "is longer than `max-pause`",
    // How much a text with a unit is, or means as an address, a path or a name.
    "is longer than a year",
    "is out of range; write a size",
    "is too large; write",
    "; a port is a number",
    "is not an address",
    "is not a prefix",
    "has bits beyond its prefix",
    "for one address only",
    "is no port, range or",
    "paths are normalised",
    "contains ",
    "no request can have it",
    // What JSON does not have.
    "JSON has no number",
];

/// The text as JSON; none if it is neither that nor TOML.
fn json(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok().or_else(|| toml::from_str(text).ok())
}

#[test]
fn the_schema_takes_every_config_of_the_tree() {
    let schema = Schema::of_odin();
    let mut taken = 0;
    for entry in std::fs::read_dir(paths::workspace().join("configs")).unwrap() {
        let path = entry.unwrap().path();
        // YAML is no other schema: `configs.rs` asks an Odin with each config for its JSON.
        if path.extension().is_some_and(|ending| ending == "toml" || ending == "json") {
            let text = std::fs::read_to_string(&path).unwrap();
            schema.takes(&path.display().to_string(), &json(&text).unwrap());
            taken += 1;
        }
    }
    assert!(taken >= 13, "{taken} configs");
}

/// Keys that do not go with the protocol of the example: configs/passthrough.toml has them.
const OF_OTHER_PROTOCOLS: [&str; 4] = ["tcp-cluster", "detect-timeout", "sni", "alpn"];

/// Some keys of the example have no default, and are comments in it.
#[test]
fn the_schema_takes_every_key_of_the_example() {
    let text = schema::printed(&["schema", "--example"]);
    let key = |line: &&str| {
        let key = line.split_once(" = ").map_or(" ", |(key, _)| key);
        !key.contains([' ', '`']) && !OF_OTHER_PROTOCOLS.contains(&key)
    };
    let bare = |line| Some(line).and_then(|line: &str| line.strip_prefix("# ")).filter(key).unwrap_or(line);
    let all = text.lines().map(bare).collect::<Vec<_>>().join("\n");
    assert!(all.contains("\nsteer = \"canary\"\n"), "{all}");
    Schema::of_odin().takes("the example", &json(&all).unwrap());
}

#[test]
fn the_schema_refuses_what_odin_refuses_but_for_what_it_cannot_know() {
    let schema = Schema::of_odin();
    let (mut refused, mut wrong) = (0, String::new());
    for table in ["toml", "values", "listeners", "addresses", "plugins", "json"] {
        let file = paths::workspace().join(format!("host/odin/src/config/tests/cases/{table}.txt"));
        for (text, errors) in read::cases(&std::fs::read_to_string(file).unwrap()) {
            let Some(config) = json(&text) else { continue };
            let known = errors.lines().find(|error| !UNKNOWABLE.iter().any(|words| error.contains(words)));
            match (schema.faults(&config).is_empty(), known) {
                (true, Some(error)) => wrong += &format!("takes what has the error {error}\n"),
                (true, None) => {}
                (false, _) => refused += 1,
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(refused > 150, "{refused} are refused");
}
