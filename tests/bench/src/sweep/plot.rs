//! The sweep as a picture: a panel for each version of HTTP, a line for each proxy.
//!
//! The steps grow by the same factor, so they stand at equal distances. Scales begin at zero.

use std::fmt::Write;

use super::AT_ONCE;
use crate::case::Case;
use crate::peers::Kind;
use crate::plot::{FAINT, INK, colour, label};
use crate::results::Results;
use crate::stats::Summary;
use crate::table::{short, thousands};

const PANEL: (f64, f64) = (590.0, 380.0);
const MARGIN: f64 = 24.0;
const HEADING: f64 = 74.0;
/// Inside of a panel: room for title and unit, for the steps below, the scale on the left and the names on the right.
const TOP: f64 = 60.0;
const BOTTOM: f64 = 52.0;
const LEFT: f64 = 40.0;
const RIGHT: f64 = 180.0;
/// Between the names of two lines that end close to each other.
const NAMES: f64 = 17.0;
/// Most lines of the scale.
const GRID: f64 = 6.0;

/// One line of a panel.
struct Line {
    kind: Kind,
    name: &'static str,
    dashes: &'static str,
    points: Vec<(usize, Summary)>,
}

/// The whole picture. None when no sweep was run.
pub(crate) fn svg(results: &Results) -> Option<String> {
    let panels = [
        ("HTTP/1.1 keep-alive", vec![Case::SweepHttp1]),
        ("HTTP/2 downstream", vec![Case::SweepHttp2, Case::SweepHttp2Upstream]),
    ];
    let panels: Vec<(&str, Vec<Line>)> = panels
        .into_iter()
        .map(|(title, cases)| (title, cases.into_iter().flat_map(|case| lines(results, case)).collect()))
        .filter(|(_, lines): &(&str, Vec<Line>)| !lines.is_empty())
        .collect();
    if panels.is_empty() {
        return None;
    }
    let width = MARGIN * 2.0 + PANEL.0 * panels.len() as f64;
    let height = HEADING + PANEL.1 + MARGIN;
    let title = "CPU per request by requests at once";
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         font-family=\"system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif\" role=\"img\" aria-label=\"{title}\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    label(&mut text, (MARGIN, 36.0), "start", 20.0, INK, true, title);
    let subtitle = format!(
        "Less is better. One thread each, pinned; median of {} rounds, whiskers from smallest to largest.",
        results.rounds
    );
    label(&mut text, (MARGIN, 58.0), "start", 13.0, FAINT, false, &subtitle);
    for (place, (title, lines)) in panels.iter().enumerate() {
        panel(&mut text, title, lines, (MARGIN + PANEL.0 * place as f64, HEADING));
    }
    text.push_str("</svg>\n");
    Some(text)
}

fn lines(results: &Results, case: Case) -> Vec<Line> {
    let of = |kind: Kind| {
        let cost = |at_once| Some((at_once, results.step(case, kind, at_once, |step| step.sample.cost)?));
        let points: Vec<_> = AT_ONCE.into_iter().filter_map(cost).collect();
        let (name, dashes) = match (case, kind) {
            (Case::SweepHttp2Upstream, _) => ("Odin, both sides", "2 4"),
            (_, Kind::Haproxy) => ("HAProxy", "7 4"),
            _ => (kind.name(), "none"),
        };
        (!points.is_empty()).then_some(Line { kind, name, dashes, points })
    };
    results.proxies.iter().filter_map(|(kind, _)| of(*kind)).collect()
}

fn panel(text: &mut String, title: &str, lines: &[Line], (x, y): (f64, f64)) {
    label(text, (x + 4.0, y + 22.0), "start", 15.0, INK, true, title);
    label(text, (x + 4.0, y + 40.0), "start", 12.0, FAINT, false, "µs/request");
    let (left, right) = (x + LEFT, x + PANEL.0 - RIGHT);
    let (floor, room) = (y + PANEL.1 - BOTTOM, PANEL.1 - TOP - BOTTOM);
    let highest = lines.iter().flat_map(|line| &line.points).map(|(_, cost)| cost.max).fold(0.0, f64::max);
    let step = grid(highest);
    let top = (highest / step).ceil().max(1.0) * step;
    let height = |cost: f64| floor - cost / top * room;
    let place = |at_once: usize| {
        let index = AT_ONCE.iter().position(|step| *step == at_once).unwrap_or_default();
        left + 16.0 + (right - left - 32.0) * index as f64 / (AT_ONCE.len() - 1) as f64
    };
    for mark in 0..=(top / step).round() as usize {
        let cost = mark as f64 * step;
        let (at, opacity) = (height(cost), if mark == 0 { 1.0 } else { 0.25 });
        let _ = writeln!(
            text,
            "<path d=\"M{left:.1} {at:.1}H{right:.1}\" stroke=\"{FAINT}\" stroke-opacity=\"{opacity}\"/>"
        );
        label(text, (left - 6.0, at + 4.0), "end", 12.0, FAINT, false, &format!("{cost}"));
    }
    for at_once in AT_ONCE {
        label(text, (place(at_once), floor + 18.0), "middle", 12.5, INK, false, &thousands(at_once as f64));
    }
    label(text, ((left + right) / 2.0, floor + 38.0), "middle", 12.0, FAINT, false, "requests at once");
    for line in lines {
        draw(text, line, place, height);
    }
    names(text, lines, right, height);
}

fn draw(text: &mut String, line: &Line, place: impl Fn(usize) -> f64, height: impl Fn(f64) -> f64) {
    let colour = colour(line.kind);
    let points: Vec<String> = line
        .points
        .iter()
        .map(|(at_once, cost)| format!("{:.1},{:.1}", place(*at_once), height(cost.median)))
        .collect();
    let width = if line.kind == Kind::Odin { 2.5 } else { 2.0 };
    let _ = writeln!(
        text,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\" stroke-dasharray=\"{}\"/>",
        points.join(" "),
        line.dashes
    );
    for (at_once, cost) in &line.points {
        let (x, y) = (place(*at_once), height(cost.median));
        let _ = writeln!(
            text,
            "<path d=\"M{x:.1} {:.1}V{:.1}\" stroke=\"{colour}\" stroke-opacity=\"0.6\"/>\
             <circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"/>",
            height(cost.min),
            height(cost.max)
        );
    }
}

/// Names each line at its end, with its last figure.
fn names(text: &mut String, lines: &[Line], right: f64, height: impl Fn(f64) -> f64) {
    let mut ends: Vec<(f64, &Line, Summary)> = lines
        .iter()
        .filter_map(|line| line.points.last().map(|(_, cost)| (height(cost.median), line, *cost)))
        .collect();
    ends.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut lowest = f64::MIN;
    for (y, line, cost) in ends {
        lowest = y.max(lowest + NAMES);
        let words = format!("{} {}", line.name, short(cost.median));
        label(text, (right + 2.0, lowest + 4.0), "start", 13.0, colour(line.kind), line.kind == Kind::Odin, &words);
    }
}

/// Between two lines of the scale: 1, 2 or 5 times a power of ten.
fn grid(highest: f64) -> f64 {
    let mut unit = 1.0;
    loop {
        if let Some(step) = [1.0, 2.0, 5.0].map(|times| times * unit).into_iter().find(|step| highest / step <= GRID) {
            return step;
        }
        unit *= 10.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Sample;
    use crate::sweep::Step;

    #[test]
    fn every_line_ends_with_its_name_and_figure() {
        let mut results = Results::new(1);
        assert_eq!(svg(&results), None);
        results.proxies = vec![(Kind::Odin, None), (Kind::Haproxy, None)];
        for (kind, base) in [(Kind::Odin, 18.0), (Kind::Haproxy, 17.5)] {
            for (place, at_once) in AT_ONCE.into_iter().enumerate() {
                let sample = Sample::of(base + place as f64);
                results.push_step(Case::SweepHttp1, kind, Step { at_once, sample, connects: 0.0 });
            }
        }
        let picture = svg(&results).unwrap_or_default();
        for words in [">Odin 21.0<", ">HAProxy 20.5<", ">1,024<", ">20<"] {
            assert!(picture.contains(words), "{words} is missing:\n{picture}");
        }
        assert!(!picture.contains("NaN") && !picture.contains("HTTP/2"), "{picture}");
    }

    #[test]
    fn the_scale_has_few_lines_however_high_it_is() {
        assert_eq!((grid(3.0), grid(21.0), grid(58.0), grid(340.0)), (1.0, 5.0, 10.0, 100.0));
        assert_eq!(grid(0.0), 1.0);
    }
}
