//! The rooms of the data path, as docs/architecture.md draws them: who may use whom, who may name a socket, and no circles
//! there or in the runtime.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::iter::Peekable;
use std::path::{Path, PathBuf};
use std::str::Chars;

/// Files that may use each other in a circle. More than these are no longer understood one by one.
const LARGEST_CIRCLE: usize = 3;

/// The files that a file uses, by module path: `upstream::pool`.
type Uses = BTreeMap<String, BTreeSet<String>>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn arrows_between_the_rooms_of_the_data_path_point_the_way_that_the_page_says() {
    let allowed = arrows_of_the_page();
    for (file, uses) in uses_in(&root().join("host/proxy/src")) {
        for used in uses {
            let (from, to) = (room(&file), room(&used));
            let fine = from == to || to.is_none() || from.is_none();
            let fine = fine || allowed[from.unwrap()].iter().any(|room| Some(room.as_str()) == to);
            assert!(fine, "host/proxy/src: {file} uses {used}, and docs/architecture.md has no such arrow");
        }
    }
}

#[test]
fn only_transport_and_relay_name_a_socket() {
    let mut files = BTreeMap::new();
    read(&root().join("host/proxy/src"), "", &mut files);
    assert!(files.contains_key("transport::conn"), "the files were not found");
    files.retain(|file, _| !matches!(room(file), Some("transport" | "relay")));
    for (file, text) in files {
        let named = text.lines().map(|line| line.split("//").next().unwrap_or("")).find(|line| {
            let mut words = line.split(|letter: char| !letter.is_alphanumeric());
            words.any(|word| ["TcpStream", "OwnedReadHalf", "OwnedWriteHalf"].contains(&word))
        });
        assert_eq!(named, None, "host/proxy/src: {file} names a socket; a connection is a `Conn` there");
    }
}

#[test]
fn the_parts_of_the_runtime_use_those_below_them_on_the_page() {
    let order = rows_of_the_page("| part ");
    assert!(order.len() > 5, "the table was not found");
    let is = |name: &String, part: &str| name.trim_end_matches('/').trim_end_matches(".rs") == part;
    let place = |file: &str| {
        let part = file.split("::").next().unwrap();
        order.iter().position(|cells| cells[0].iter().any(|name| is(name, part)))
    };
    for (file, uses) in uses_in(&root().join("host/runtime/src")) {
        for used in uses {
            let fine = place(&file).zip(place(&used)).is_none_or(|(from, to)| from <= to);
            assert!(fine, "host/runtime/src: {file} uses {used}, which docs/architecture.md has above it");
        }
    }
}

#[test]
fn the_chain_knows_no_event_loop_and_no_guest() {
    let manifest = fs::read_to_string(root().join("host/chain/Cargo.toml")).unwrap();
    let (_, dependencies) = manifest.split_once("[dependencies]").unwrap();
    let names = dependencies.lines().skip(1).take_while(|line| !line.is_empty());
    let names: Vec<&str> = names.map(|line| line.split('.').next().unwrap()).collect();
    assert_eq!(names, ["bytes", "http", "thiserror"]);
}

#[test]
fn no_files_use_each_other_in_a_large_circle() {
    for (folder, least) in [("host/proxy/src", 50), ("host/runtime/src", 50), ("host/chain/src", 8)] {
        let uses = uses_in(&root().join(folder));
        assert!(uses.len() > least, "the files of {folder} were not found");
        for file in uses.keys() {
            let circle: Vec<_> =
                reached(&uses, file).into_iter().filter(|other| reached(&uses, other).contains(file)).collect();
            assert!(circle.len() <= LARGEST_CIRCLE, "{folder}: these use each other in a circle: {circle:?}");
        }
    }
}

#[test]
fn what_a_file_uses_is_read_from_its_use_lines() {
    let text = "use crate::{a, b::{self, C as D}};\nuse super::e::F;\n// use crate::g;\nfn f() { crate::h::i(); }\n";
    let found: Vec<String> = paths(text).map(|path| path.join("::")).collect();
    assert_eq!(found, ["crate::a", "crate::b", "crate::b::C", "super::e::F", "crate::h::i"]);
}

/// The first part of a path, if it is a folder; what lies beside the folders belongs to all of them.
fn room(file: &str) -> Option<&str> {
    let room = file.split("::").next()?;
    root().join("host/proxy/src").join(room).is_dir().then_some(room)
}

/// The table of rooms: a room, and those that it may use.
fn arrows_of_the_page() -> BTreeMap<String, Vec<String>> {
    let rows = rows_of_the_page("| room ").into_iter();
    rows.map(|cells| (cells[0][0].trim_end_matches('/').to_owned(), cells[1].clone())).collect()
}

/// The table of the page whose head begins so: for each row the names in each cell.
fn rows_of_the_page(head: &str) -> Vec<Vec<Vec<String>>> {
    let page = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let names = |cell: &str| -> Vec<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let rows = page.lines().skip_while(|line| !line.starts_with(head)).skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.split('|').skip(1).map(names).collect()).collect()
}

fn reached(uses: &Uses, from: &str) -> BTreeSet<String> {
    let (mut seen, mut next) = (BTreeSet::new(), vec![from.to_owned()]);
    while let Some(file) = next.pop() {
        next.extend(uses[&file].iter().filter(|used| seen.insert((*used).clone())).cloned());
    }
    seen
}

fn uses_in(folder: &Path) -> Uses {
    let mut files = BTreeMap::new();
    read(folder, "", &mut files);
    let uses = |name: &str, text: &str| -> BTreeSet<String> {
        let found = paths(text).filter_map(|path| resolve(&files, name, &path));
        found.filter(|used| used != name).collect()
    };
    files.iter().map(|(name, text)| (name.clone(), uses(name, text))).collect()
}

/// The files by module path, without their tests.
fn read(folder: &Path, name: &str, files: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let inner = if name.is_empty() { stem.to_owned() } else { format!("{name}::{stem}") };
        match (path.is_dir(), stem) {
            (_, "tests" | "fuzz" | "lib") => {}
            (true, _) => read(&path, &inner, files),
            (false, "mod") => drop(files.insert(name.to_owned(), without_tests(&path))),
            (false, _) => drop(files.insert(inner, without_tests(&path))),
        }
    }
}

fn without_tests(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned()
}

/// The file that a path leads to: the longest beginning of it that is one.
fn resolve(files: &BTreeMap<String, String>, from: &str, path: &[String]) -> Option<String> {
    let mut at: Vec<&str> = if path[0] == "crate" { Vec::new() } else { from.split("::").collect() };
    for part in path {
        match part.as_str() {
            "crate" | "self" => {}
            "super" => drop(at.pop()),
            part => at.push(part),
        }
    }
    (1..=at.len()).rev().map(|length| at[..length].join("::")).find(|name| files.contains_key(name))
}

/// Every path of the crate that is named, those of `use` lines one by one.
fn paths(text: &str) -> impl Iterator<Item = Vec<String>> {
    let code: String = text.lines().map(|line| line.split("//").next().unwrap_or("").to_owned() + "\n").collect();
    let mut found = Vec::new();
    let words = ["crate::", "super::", "self::"];
    let mut starts: Vec<usize> = words.iter().flat_map(|word| begins(&code, word)).collect();
    starts.sort_unstable();
    for start in starts {
        tree(&mut code[start..].chars().peekable(), Vec::new(), &mut found);
    }
    found.into_iter()
}

/// Where a path begins with this word.
fn begins(code: &str, word: &str) -> Vec<usize> {
    let inside = |at: usize| code[..at].ends_with(|before: char| before.is_alphanumeric() || "_:".contains(before));
    code.match_indices(word).map(|(at, _)| at).filter(|at| !inside(*at)).collect()
}

/// A path, with what stands in its braces.
fn tree(code: &mut Peekable<Chars<'_>>, mut path: Vec<String>, found: &mut Vec<Vec<String>>) {
    let mut name = String::new();
    while let Some(letter) = code.next_if(|letter| letter.is_alphanumeric() || "_:{".contains(*letter)) {
        match letter {
            ':' => path.extend(Some(std::mem::take(&mut name)).filter(|name| !name.is_empty() && name != "self")),
            '{' => return branches(code, &path, found),
            letter => name.push(letter),
        }
    }
    let is_root = path.is_empty();
    path.extend(Some(name).filter(|name| !name.is_empty() && (name != "self" || is_root)));
    if !path.is_empty() {
        found.push(path);
    }
}

fn branches(code: &mut Peekable<Chars<'_>>, path: &[String], found: &mut Vec<Vec<String>>) {
    loop {
        while code.next_if(|letter| letter.is_whitespace() || *letter == ',').is_some() {}
        if code.next_if_eq(&'}').is_some() || code.peek().is_none() {
            return;
        }
        tree(code, path.to_vec(), found);
        // `as` and a new name.
        while code.next_if(|letter| !",}".contains(*letter)).is_some() {}
    }
}
