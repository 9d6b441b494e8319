//! The results as one picture: a panel for each case, a bar for each proxy.
//!
//! Each panel has its own scale, from zero, since the cases have different units; it must never cut a bar.

use std::fmt::Write;

use crate::case::Case;
use crate::peers::Kind;
use crate::results::Results;
use crate::stats::Summary;
use crate::table::short;

const COLUMNS: usize = 4;
const PANEL: (f64, f64) = (290.0, 280.0);
const MARGIN: f64 = 24.0;
const HEADING: f64 = 74.0;
/// Inside of a panel: room above the bars for title and unit, below for names.
const TOP: f64 = 70.0;
const BOTTOM: f64 = 34.0;
const BAR: f64 = 44.0;
pub(crate) const INK: &str = "#1f2933";
pub(crate) const FAINT: &str = "#66717f";

/// The whole picture.
pub(crate) fn svg(results: &Results) -> String {
    let cases: Vec<Case> = results.cases.iter().copied().filter(|case| case.compares()).collect();
    let panels = cases.len() + 1;
    let columns = COLUMNS.min(panels);
    let width = MARGIN * 2.0 + PANEL.0 * columns as f64;
    let height = HEADING + PANEL.1 * panels.div_ceil(columns) as f64 + MARGIN;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         font-family=\"system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif\" role=\"img\" aria-label=\"CPU of each proxy per operation\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    label(&mut text, (MARGIN, 36.0), "start", 20.0, INK, true, "CPU that the proxy spends per operation");
    let subtitle = format!(
        "Less is better. One thread each, pinned; median of {} interleaved rounds, whiskers from smallest to largest.",
        results.rounds
    );
    label(&mut text, (MARGIN, 58.0), "start", 13.0, FAINT, false, &subtitle);
    for place in 0..panels {
        let x = MARGIN + PANEL.0 * (place % columns) as f64;
        let y = HEADING + PANEL.1 * (place / columns) as f64;
        match cases.get(place) {
            Some(case) => panel(&mut text, results, *case, (x, y)),
            None => legend(&mut text, results, (x, y)),
        }
    }
    text.push_str("</svg>\n");
    text
}

pub(crate) fn colour(kind: Kind) -> &'static str {
    match kind {
        Kind::Odin => "#c2410c",
        Kind::Nginx => "#5b7c99",
        Kind::Haproxy => "#7f97ad",
        Kind::Envoy => "#a5b5c4",
    }
}

fn panel(text: &mut String, results: &Results, case: Case, (x, y): (f64, f64)) {
    label(text, (x + 4.0, y + 22.0), "start", 15.0, INK, true, case.title());
    label(text, (x + 4.0, y + 40.0), "start", 12.0, FAINT, false, case.unit());
    let floor = y + PANEL.1 - BOTTOM;
    let room = PANEL.1 - TOP - BOTTOM;
    let costs: Vec<(Kind, Option<Summary>)> = results
        .proxies
        .iter()
        .filter(|(kind, _)| case.takes(*kind))
        .map(|(kind, _)| (*kind, results.cost(case, *kind)))
        .collect();
    let highest = costs.iter().filter_map(|(_, cost)| cost.map(|c| c.max)).fold(0.0, f64::max);
    let scale = if highest > 0.0 { room / highest } else { 0.0 };
    let step = (PANEL.0 - 28.0) / costs.len().max(1) as f64;
    let _ = writeln!(
        text,
        "<line x1=\"{:.1}\" y1=\"{floor:.1}\" x2=\"{:.1}\" y2=\"{floor:.1}\" stroke=\"{FAINT}\"/>",
        x + 4.0,
        x + PANEL.0 - 24.0
    );
    for (place, (kind, cost)) in costs.into_iter().enumerate() {
        let middle = x + 4.0 + step * (place as f64 + 0.5);
        let bold = kind == Kind::Odin;
        label(text, (middle, floor + 18.0), "middle", 12.5, INK, bold, kind.name());
        let Some(cost) = cost else {
            label(text, (middle, floor - 8.0), "middle", 11.0, FAINT, false, "no figure");
            continue;
        };
        bar(text, middle, floor, cost.median * scale, colour(kind), 1.0);
        let below = if case == Case::Plugin { results.cost(Case::Http1, kind) } else { None };
        let below = below.or_else(|| results.helper(case, kind).and_then(|_| results.alone(case, kind)));
        if let Some(bare) = below {
            added(text, middle, floor, bare.median.min(cost.median) * scale, cost.median * scale);
        }
        let (low, high) = (floor - cost.min * scale, floor - cost.max * scale);
        let _ = writeln!(
            text,
            "<path d=\"M{middle:.1} {low:.1}V{high:.1}M{:.1} {low:.1}h8M{:.1} {high:.1}h8\" stroke=\"{INK}\" stroke-opacity=\"0.65\" fill=\"none\"/>",
            middle - 4.0,
            middle - 4.0
        );
        label(text, (middle, high - 6.0), "middle", 13.0, INK, bold, &short(cost.median));
    }
}

fn bar(text: &mut String, middle: f64, floor: f64, height: f64, fill: &str, opacity: f64) {
    let _ = writeln!(
        text,
        "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{BAR}\" height=\"{height:.1}\" fill=\"{fill}\" fill-opacity=\"{opacity}\"/>",
        middle - BAR / 2.0,
        floor - height
    );
}

/// Pales the part of a bar that the plugin adds to the bare figure, or the helper to the proxy.
fn added(text: &mut String, middle: f64, floor: f64, bare: f64, whole: f64) {
    bar(text, middle, floor - bare, whole - bare, "#ffffff", 0.55);
}

fn legend(text: &mut String, results: &Results, (x, y): (f64, f64)) {
    let mut line = y + 22.0;
    for (kind, found) in &results.proxies {
        let version = found.as_ref().map_or("not measured", |proxy| proxy.version.as_str());
        // A distribution's own suffix says nothing here.
        let version = version.split(['-', '+']).next().unwrap_or(version);
        let _ = writeln!(
            text,
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"14\" height=\"14\" fill=\"{}\"/>",
            x + 4.0,
            line - 11.5,
            colour(*kind)
        );
        label(text, (x + 26.0, line), "start", 13.0, INK, false, &format!("{} {version}", kind.name()));
        line += 22.0;
    }
    let mut notes =
        vec!["Each panel has its own scale.", "HTTP: ten request fields, 1 KiB body,", "HTTP/1.1 to the upstream."];
    if results.cases.contains(&Case::Plugin) {
        notes.extend([
            "Header plugin: reads one field, sets two;",
            "Wasm in Odin, Lua in the others;",
            "the pale part is what it adds.",
        ]);
    }
    if results.cases.contains(&Case::Digest) {
        notes.extend([
            "PUT + a digest: six plugins in Odin,",
            "one ext_proc filter in Envoy; the pale",
            "part is its gRPC processor.",
        ]);
    }
    line += 6.0;
    for note in notes {
        label(text, (x + 4.0, line), "start", 12.0, FAINT, false, note);
        line += 18.0;
    }
}

pub(crate) fn label(
    text: &mut String,
    (x, y): (f64, f64),
    anchor: &str,
    size: f64,
    fill: &str,
    bold: bool,
    words: &str,
) {
    let weight = if bold { " font-weight=\"600\"" } else { "" };
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(
        text,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\" fill=\"{fill}\"{weight}>{words}</text>"
    );
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::peers::Installed;
    use crate::results::Sample;

    #[test]
    fn every_measured_bar_carries_its_figure_and_every_missing_one_says_so() {
        let mut results = Results::new(1);
        results.cases = vec![Case::Http1, Case::Plugin];
        for (kind, cost) in [(Kind::Odin, 11.5), (Kind::Envoy, 123.4)] {
            let found = Installed { kind, binary: PathBuf::new(), version: "1.0".to_owned() };
            results.proxies.push((kind, Some(found)));
            for (case, more) in [(Case::Http1, 0.0), (Case::Plugin, 0.75)] {
                let sample =
                    Sample { cost: cost + more, helper: None, rate: 1.0, busy: 1.0, others: 0.0, p50: None, p99: None };
                results.push(case, kind, sample);
            }
        }
        results.proxies.push((Kind::Nginx, None));
        let picture = svg(&results);
        for figure in [">11.5<", ">12.2<", ">123<", ">124<"] {
            assert!(picture.contains(figure), "{figure} is missing");
        }
        assert_eq!(picture.matches("no figure").count(), 2);
        assert!(!picture.contains("NaN") && !picture.contains("height=\"-"));
    }
}
