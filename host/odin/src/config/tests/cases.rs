//! Runs the tables in `cases/`: bad configs, each with the exact errors that it must give. A message that gets worse
//! must not go unseen, so nothing here matches loosely.
//!
//! A case is the text of a config, then `=> ` and an error for each error, then an empty line. In a text with `@`, each
//! line `@ VALUE` is a case of its own with its own errors. `## ` starts a heading.

mod read;

pub(super) use read::cases;

use super::Folder;

#[test]
fn toml_that_is_no_config_is_told_why() {
    all_give_their_errors("a.toml", include_str!("cases/toml.txt"));
}

#[test]
fn yaml_that_is_no_config_is_told_why() {
    all_give_their_errors("a.yaml", include_str!("cases/yaml.txt"));
}

#[test]
fn json_that_is_no_config_is_told_why() {
    all_give_their_errors("a.json", include_str!("cases/json.txt"));
}

/// The readers of values are the same for every syntax, so one syntax stands for all.
#[test]
fn a_value_that_does_not_fit_is_told_what_does() {
    all_give_their_errors("a.toml", include_str!("cases/values.txt"));
}

#[test]
fn listeners_and_names_that_do_not_fit_together_are_told_where() {
    all_give_their_errors("a.toml", include_str!("cases/listeners.txt"));
}

#[test]
fn keys_of_tls_that_do_not_fit_together_are_told_what_does() {
    all_give_their_errors("a.toml", include_str!("cases/tls.txt"));
}

#[test]
fn addresses_that_cannot_be_served_side_by_side_are_told_of_each_other() {
    all_give_their_errors("a.toml", include_str!("cases/addresses.txt"));
}

#[test]
fn a_plugin_that_wants_what_there_is_not_is_told_what_there_is() {
    all_give_their_errors("a.toml", include_str!("cases/plugins.txt"));
}

fn all_give_their_errors(file: &str, table: &str) {
    let folder = Folder::new(&format!("cases-{}", table.len()));
    let mut wrong = String::new();
    let cases = cases(table);
    assert!(cases.len() > 10, "the table was not understood");
    for (text, expected) in &cases {
        let found = folder.errors(text, file);
        if found != *expected {
            wrong += &format!("--- in\n{text}\n--- expected\n{expected}\n--- found\n{found}\n\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
