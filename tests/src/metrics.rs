//! Reads the Prometheus text format strictly: what a real scraper would refuse fails the test.

use std::collections::{BTreeMap, BTreeSet};

/// One scrape.
#[derive(Debug)]
pub struct Metrics {
    samples: Vec<Sample>,
    types: BTreeMap<String, String>,
}

/// One line of numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The name, suffixes like `_bucket` included.
    pub name: String,
    /// The labels.
    pub labels: BTreeMap<String, String>,
    /// The value.
    pub value: f64,
}

impl Metrics {
    /// Reads the text; the error says which line a scraper would refuse.
    pub fn parse(text: &str) -> Result<Metrics, String> {
        if !text.ends_with('\n') {
            return Err("the last line has no end".to_string());
        }
        let (mut samples, mut types, mut helps) = (Vec::new(), BTreeMap::new(), BTreeSet::new());
        let mut seen = BTreeSet::new();
        for line in text.lines() {
            let refuse = |why: &str| Err(format!("{why}: {line:?}"));
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let Some((name, kind)) = rest.split_once(' ') else { return refuse("TYPE without a type") };
                if !["counter", "gauge", "histogram", "summary", "untyped"].contains(&kind) {
                    return refuse("unknown type");
                }
                if types.insert(name.to_string(), kind.to_string()).is_some() {
                    return refuse("a second TYPE of the same name");
                }
            } else if let Some(rest) = line.strip_prefix("# HELP ") {
                let name = rest.split(' ').next().unwrap_or("");
                if !helps.insert(name.to_string()) {
                    return refuse("a second HELP of the same name");
                }
            } else if !line.is_empty() && !line.starts_with('#') {
                let Some(sample) = Sample::parse(line) else { return refuse("not a sample") };
                if !seen.insert((sample.name.clone(), sample.labels.clone())) {
                    return refuse("the same sample twice");
                }
                samples.push(sample);
            }
        }
        let metrics = Metrics { samples, types };
        metrics.check_families()?;
        Ok(metrics)
    }

    fn check_families(&self) -> Result<(), String> {
        let mut finished = BTreeSet::new();
        let mut current = String::new();
        for sample in &self.samples {
            let family = self.family(&sample.name);
            if family != current {
                if !finished.insert(family.clone()) {
                    return Err(format!("the samples of {family} are not together"));
                }
                current = family.clone();
            }
            match self.types.get(&family).map(String::as_str) {
                None => return Err(format!("{family} has no TYPE")),
                Some("counter") if sample.value < 0.0 => return Err(format!("a negative counter: {sample:?}")),
                Some("histogram") => self.check_histogram(&family, sample)?,
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn check_histogram(&self, family: &str, sample: &Sample) -> Result<(), String> {
        if sample.name != format!("{family}_count") {
            return Ok(());
        }
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        for bucket in self.samples.iter().filter(|s| s.name == format!("{family}_bucket")) {
            let mut labels = bucket.labels.clone();
            let bound = labels.remove("le").ok_or_else(|| format!("a bucket without `le`: {bucket:?}"))?;
            if labels == sample.labels {
                buckets.push((bound.parse().map_err(|_| format!("{bound:?} is no bound"))?, bucket.value));
            }
        }
        if !buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1) {
            return Err(format!("the buckets of {family} do not grow: {buckets:?}"));
        }
        match buckets.last() {
            Some((bound, count)) if bound.is_infinite() && *count == sample.value => Ok(()),
            _ => Err(format!("{family} has no +Inf bucket that equals its count: {buckets:?}")),
        }
    }

    fn family(&self, name: &str) -> String {
        let parts = ["_bucket", "_sum", "_count"].iter().filter_map(|suffix| name.strip_suffix(suffix));
        let typed = |base: &&str| matches!(self.types.get(*base).map(String::as_str), Some("histogram" | "summary"));
        parts.into_iter().find(typed).unwrap_or(name).to_string()
    }

    /// The sum of all samples of that name whose labels include these.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits = |s: &&Sample| labels.iter().all(|(k, v)| s.labels.get(*k).is_some_and(|found| found == v));
        self.samples.iter().filter(|s| s.name == name).filter(fits).map(|s| s.value).sum()
    }

    /// All names.
    pub fn names(&self) -> BTreeSet<&str> {
        self.samples.iter().map(|sample| sample.name.as_str()).collect()
    }
}

impl Sample {
    fn parse(line: &str) -> Option<Sample> {
        let name_end = line.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))?;
        let (name, mut rest) = line.split_at(name_end);
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        let mut labels = BTreeMap::new();
        if let Some(inside) = rest.strip_prefix('{') {
            rest = inside;
            loop {
                if let Some(after) = rest.strip_prefix('}') {
                    rest = after;
                    break;
                }
                let (label, after) = rest.split_once("=\"")?;
                let (value, after) = quoted(after)?;
                let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
                if label.is_empty() || !label.chars().all(word) || labels.insert(label.to_string(), value).is_some() {
                    return None;
                }
                rest = after.strip_prefix(',').unwrap_or(after);
            }
        }
        let value = match rest.strip_prefix(' ')? {
            "+Inf" => f64::INFINITY,
            "-Inf" => f64::NEG_INFINITY,
            number => number.parse().ok()?,
        };
        Some(Sample { name: name.to_string(), labels, value })
    }
}

/// Reads up to the closing quote; answers the text and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other @ ('\\' | '"') => value.push(other),
                _ => return None,
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_is_read() {
        let text = "# HELP a_total what\n# TYPE a_total counter\na_total{x=\"1\\\"\",y=\"2\"} 3\na_total{x=\"z\"} 4\n\
                    # TYPE h histogram\nh_bucket{le=\"0.1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 0.5\nh_count 2\n";
        let metrics = Metrics::parse(text).unwrap();
        assert_eq!(metrics.sum("a_total", &[]), 7.0);
        assert_eq!(metrics.sum("a_total", &[("x", "1\"")]), 3.0);
    }

    #[test]
    fn what_a_scraper_would_refuse_is_refused() {
        for bad in [
            "a 1\n",
            "# TYPE a counter\na 1",
            "# TYPE a counter\na -1\n",
            "# TYPE a gauge\na 1\na 2\n",
            "# TYPE a gauge\na{x=1} 1\n",
            "# TYPE a gauge\n# TYPE b gauge\na{x=\"1\"} 1\nb 1\na{x=\"2\"} 1\n",
            "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_sum 1\nh_count 1\n",
            "# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\n",
        ] {
            assert!(Metrics::parse(bad).is_err(), "{bad:?}");
        }
    }
}
