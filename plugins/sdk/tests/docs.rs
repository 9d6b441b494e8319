//! Keeps docs/plugins.md honest: the example that it shows is the source of lb_rr without its tests, to the letter.

#[test]
fn the_example_in_the_docs_is_the_source_of_lb_rr() {
    let docs = include_str!("../../../docs/plugins.md");
    let source = include_str!("../../lb_rr/src/lib.rs");
    let source = source.split("\n#[cfg(test)]").next().unwrap_or(source);
    assert!(docs.contains(&format!("```rust\n{source}```\n")), "copy plugins/lb_rr/src/lib.rs into docs/plugins.md");
}
