//! Puts tables and plot where people read them, between two markers.
//!
//! Only a full run may change the documentation; whatever stands outside of the markers is never touched.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::options::{Options, repository};
use crate::results::Results;
use crate::{limits, machine, plot, plugins, steer, sweep, table};

const BEGIN: &str = "<!-- bench:begin -->";
const END: &str = "<!-- bench:end -->";
const PAGE: &str = "benchmarks.md";
/// Share of the proxies' CPU used by others up to which figures can be quoted.
const QUIET: f64 = 0.03;
const PLOT: &str = "benchmarks.svg";
const SWEEP_PLOT: &str = "benchmarks-sweep.svg";

/// Prints the tables and writes the page and the plot.
pub(crate) fn write(options: &Options, results: &Results) -> Result<()> {
    let text = section(options, results);
    println!("{text}");
    let full = options.is_full() && !results.any_failed();
    let folder = repository().join(if full { "docs" } else { "target/bench" });
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let page = folder.join(PAGE);
    put_between_markers(&page, &text).with_context(|| format!("cannot write {}", page.display()))?;
    let plot = folder.join(PLOT);
    fs::write(&plot, plot::svg(results)).with_context(|| format!("cannot write {}", plot.display()))?;
    if let Some(picture) = sweep::plot::svg(results) {
        let plot = folder.join(SWEEP_PLOT);
        fs::write(&plot, picture).with_context(|| format!("cannot write {}", plot.display()))?;
    }
    eprintln!("odin-bench: wrote {} and its plots", page.display());
    if let Some(others) = results.others().filter(|others| others.median > QUIET) {
        eprintln!(
            "odin-bench: the machine was not quiet ({:.0} % of the proxies' CPU went to others): ratios hold roughly, figures do not",
            others.median * 100.0
        );
    }
    Ok(())
}

fn section(options: &Options, results: &Results) -> String {
    let versions: Vec<String> = results
        .proxies
        .iter()
        .map(|(kind, found)| match found {
            Some(proxy) => format!("{} {}", kind.name(), proxy.version),
            None => format!("{} ({})", kind.name(), kind.install_hint()),
        })
        .collect();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let command = if arguments.is_empty() {
        "make bench".to_owned()
    } else {
        format!("cargo run --release -p odin-bench -- {}", arguments.join(" "))
    };
    let mut text = String::new();
    let _ = write!(
        text,
        "![CPU of each proxy per operation]({PLOT})\n\nMedian of {} interleaved rounds (smallest–largest); less is better.\n\n{}",
        results.rounds,
        table::costs(results)
    );
    if let Some(plugin) = table::plugin(results) {
        let _ = write!(text, "\n{plugin}");
    }
    if let Some(sweep) = sweep::table::costs(results) {
        let _ = write!(text, "\n![CPU per request by requests at once]({SWEEP_PLOT})\n\n{sweep}");
    }
    let tables = [
        plugins::costs(results),
        plugins::digest(results),
        steer::table::connections(results),
        steer::table::program(results),
        steer::table::reloads(results),
    ];
    for table in tables.into_iter().flatten() {
        let _ = write!(text, "\n{table}");
    }
    let _ = write!(text, "\n{}", limits::table(results));
    let _ = write!(
        text,
        "\n<details><summary>Rates and latencies, with load and backend sharing CPU {}</summary>\n\n{}\n</details>\n",
        options.load_cpu(),
        table::rates(results)
    );
    let _ = write!(
        text,
        "\nBy `{command}` at commit {} on {}. {}; load by {}.\n",
        machine::commit(),
        machine::describe(),
        versions.join(", "),
        machine::loads()
    );
    if let Some(others) = results.others() {
        let _ = writeln!(
            text,
            "Meanwhile other programs used {:.0} % of the proxies' CPU (up to {:.0} %): what they push out of its caches is in \
             the figures.",
            others.median * 100.0,
            others.max * 100.0
        );
    }
    text
}

fn put_between_markers(page: &Path, section: &str) -> Result<()> {
    let old = fs::read_to_string(page).unwrap_or_else(|_| format!("# Benchmarks\n\n{BEGIN}\n{END}\n"));
    let (before, rest) = old.split_once(BEGIN).with_context(|| format!("no line {BEGIN}"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("no line {END} after {BEGIN}"))?;
    fs::write(page, format!("{before}{BEGIN}\n{section}{END}{after}"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_markers_changes() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let page = dir.path().join("page.md");
        fs::write(&page, format!("before\n{BEGIN}\nold\n{END}\nafter\n"))?;
        put_between_markers(&page, "new\n")?;
        assert_eq!(fs::read_to_string(&page)?, format!("before\n{BEGIN}\nnew\n{END}\nafter\n"));
        fs::write(&page, "no marker")?;
        assert!(put_between_markers(&page, "new\n").is_err());
        Ok(())
    }
}
