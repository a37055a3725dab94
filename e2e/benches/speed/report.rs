//! How figures are shown: a line as each comes, JSON lines for programs, and at the end the tables of the README.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::json;

/// One measured value, and what it is read beside.
#[derive(Debug, Clone)]
pub struct Figure {
    what: String,
    form: Option<&'static str>,
    value: f64,
    unit: &'static str,
    samples: usize,
    reference: Option<(String, f64)>,
    asked: Option<&'static str>,
}

impl Figure {
    /// One value of one sample.
    pub fn new(what: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { what: what.into(), form: None, value, unit, samples: 1, reference: None, asked: None }
    }

    /// Which form of the store it was measured on.
    pub fn on(mut self, form: &'static str) -> Self {
        self.form = Some(form);
        self
    }

    /// How many samples it was made from.
    pub fn of(mut self, samples: usize) -> Self {
        self.samples = samples;
        self
    }

    /// The value of something else in the same run, which this one is divided by.
    pub fn beside(mut self, what: impl Into<String>, value: f64) -> Self {
        self.reference = Some((what.into(), value));
        self
    }

    /// What is asked of it, for people: a figure that misses it fails nothing.
    pub fn asked(mut self, asked: &'static str) -> Self {
        self.asked = Some(asked);
        self
    }

    fn ratio(&self) -> Option<f64> {
        self.reference.as_ref().map(|(_, reference)| self.value / reference)
    }

    fn line(&self) -> String {
        let mut line = format!("{:<70} {:<8} {}", self.what, self.form.unwrap_or_default(), self.measured());
        if let Some(asked) = self.asked {
            line += &format!(" [{asked}]");
        }
        line.trim_end().to_string()
    }

    /// `22.1 ms, 0.81 x crun (27.3)`
    fn measured(&self) -> String {
        let value = format!("{} {}", short(self.value), self.unit);
        match (&self.reference, self.ratio()) {
            (Some((what, reference)), Some(ratio)) => {
                format!("{}, {ratio:.2} x {what} ({})", value.trim_end(), short(*reference))
            }
            _ => value.trim_end().to_owned(),
        }
    }

    fn json(&self) -> String {
        let (reference, value) = self.reference.clone().unzip();
        json!({
            "what": self.what, "form": self.form, "value": self.value, "unit": self.unit,
            "samples": self.samples, "reference": reference, "referenceValue": value, "ratio": self.ratio(),
            "asked": self.asked,
        })
        .to_string()
    }
}

/// Three digits that mean something.
fn short(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

/// Figures as they come: a line for people, a JSON object in a file; and tables beside it.
#[derive(Debug)]
pub struct Report {
    path: PathBuf,
    file: File,
    figures: Vec<Figure>,
    began: Instant,
}

impl Report {
    /// A report into the file `path`, whose folders are made.
    pub fn new(path: &Path) -> Self {
        fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("the folder can be made");
        let file = File::create(path).expect("the report's file can be made");
        Self { path: path.into(), file, figures: Vec::new(), began: Instant::now() }
    }

    /// Adds a figure.
    pub fn add(&mut self, figure: &Figure) {
        println!("{}", figure.line());
        writeln!(self.file, "{}", figure.json()).expect("the report's file is writable");
        self.figures.push(figure.clone());
    }

    /// Says how long all took, and writes the tables to a file of the same name that ends in `.md`.
    pub fn end(mut self) {
        let minutes = self.began.elapsed().as_secs_f64() / 60.0;
        self.add(&Figure::new("machine: this run took", minutes, "min"));
        let path = self.path.with_extension("md");
        fs::write(&path, tables(&self.figures)).expect("the report's folder is writable");
        println!("tables: {}", path.display());
    }
}

/// What was measured on a form of the store, one row for both forms; then what knows no store.
fn tables(figures: &[Figure]) -> String {
    let mut text = "| what | embedded | etcd | asked |\n|---|---|---|---|\n".to_owned();
    let (on_stores, others): (Vec<&Figure>, Vec<&Figure>) =
        figures.iter().partition(|figure| figure.form.is_some());
    let mut told: Vec<&str> = Vec::new();
    for figure in &on_stores {
        if told.contains(&figure.what.as_str()) {
            continue;
        }
        told.push(&figure.what);
        let on = |form| {
            let found = on_stores.iter().find(|other| other.what == figure.what && other.form == Some(form));
            found.map(|figure| figure.measured()).unwrap_or_default()
        };
        let asked = figure.asked.unwrap_or_default();
        text += &format!("| {} | {} | {} | {asked} |\n", figure.what, on("embedded"), on("etcd"));
    }
    text += "\n| what | measured | asked |\n|---|---|---|\n";
    for figure in others {
        let asked = figure.asked.unwrap_or_default();
        text += &format!("| {} | {} | {asked} |\n", figure.what, figure.measured());
    }
    text
}
