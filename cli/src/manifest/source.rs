//! Where manifests come from: files, directories and standard input.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::marks::Place;
use super::trouble::Trouble;

/// More than the server takes in one object several times over.
const MOST_BYTES: u64 = 3 << 20;

/// What `-f` named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// `-`.
    Stdin,
    /// A file, or a directory of `*.yaml`, `*.yml` and `*.json`.
    Path(PathBuf),
}

/// One text with manifests.
#[derive(Debug)]
pub struct Source {
    /// As the person named it.
    pub name: String,
    /// The text, without byte order mark.
    pub text: String,
}

impl Source {
    /// A line of the text, from 1.
    pub fn line(&self, line: usize) -> &str {
        self.text.lines().nth(line.saturating_sub(1)).unwrap_or_default()
    }

    /// Its documents: the text between `---` lines, each with the number of its first line.
    pub fn documents(&self) -> Vec<(usize, &str)> {
        let mut documents = Vec::new();
        let (mut start, mut first, mut offset) = (0, 1, 0);
        for (n, line) in self.text.split_inclusive('\n').enumerate() {
            if is_marker(line, "---") || is_marker(line, "...") {
                documents.push((first, &self.text[start..offset]));
                start = if is_marker(line, "---") { offset } else { offset + line.len() };
                first = if is_marker(line, "---") { n + 1 } else { n + 2 };
            }
            offset += line.len();
        }
        documents.push((first, &self.text[start..]));
        documents.retain(|(_, text)| text.lines().any(says_something));
        documents
    }
}

/// YAML ends a document at such a line wherever it stands, in quotes and blocks too.
fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

fn says_something(line: &str) -> bool {
    let line = line.strip_prefix("---").unwrap_or(line).trim();
    !line.is_empty() && !line.starts_with(['#', '%'])
}

/// Reads every input; what cannot be read is a trouble of its own.
pub fn read(inputs: &[Input]) -> (Vec<Rc<Source>>, Vec<Trouble>) {
    let (mut sources, mut troubles) = (Vec::new(), Vec::new());
    for input in inputs {
        for (name, text) in texts(input) {
            match text.and_then(|bytes| decode(&name, bytes)) {
                Ok(source) => sources.push(Rc::new(source)),
                Err(trouble) => troubles.push(trouble),
            }
        }
    }
    (sources, troubles)
}

fn texts(input: &Input) -> Vec<(String, Result<Vec<u8>, Trouble>)> {
    match input {
        Input::Stdin => {
            let name = "standard input".to_owned();
            let text = all_of(&name, io::stdin().lock());
            vec![(name, text)]
        }
        Input::Path(path) if path.is_dir() => match manifests_in(path) {
            Ok(paths) => paths.iter().map(|path| (path.display().to_string(), open(path))).collect(),
            Err(trouble) => vec![(path.display().to_string(), Err(trouble))],
        },
        Input::Path(path) => vec![(path.display().to_string(), open(path))],
    }
}

fn manifests_in(folder: &Path) -> Result<Vec<PathBuf>, Trouble> {
    let name = folder.display().to_string();
    let entries =
        fs::read_dir(folder).map_err(|error| Trouble::of_file(&name, format!("cannot be read: {error}")))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| {
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let named = path.extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "json");
        named && !hidden && !path.is_dir()
    });
    paths.sort();
    if paths.is_empty() {
        return Err(Trouble::of_file(&name, "has no *.yaml, *.yml or *.json file in it"));
    }
    Ok(paths)
}

fn open(path: &Path) -> Result<Vec<u8>, Trouble> {
    let name = path.display().to_string();
    let file = fs::File::open(path).map_err(|error| {
        let why = match error.kind() {
            io::ErrorKind::NotFound => "does not exist".into(),
            _ => format!("cannot be read: {error}"),
        };
        Trouble::of_file(&name, why)
    })?;
    all_of(&name, file)
}

fn all_of(name: &str, reader: impl Read) -> Result<Vec<u8>, Trouble> {
    let mut bytes = Vec::new();
    let read = reader.take(MOST_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|error| Trouble::of_file(name, format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > MOST_BYTES {
        let help = "split it; an object of this size would be refused anyway";
        return Err(Trouble::of_file(name, "is larger than 3 MiB").with_help(help));
    }
    Ok(bytes)
}

fn decode(name: &str, bytes: Vec<u8>) -> Result<Source, Trouble> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(Trouble::of_file(name, "is UTF-16").with_help("save it as UTF-8"));
    }
    let text = String::from_utf8(bytes).map_err(|error| not_utf8(name, &error))?;
    let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
    let source = Source { name: name.into(), text };
    if source.documents().is_empty() {
        return Err(
            Trouble::of_file(name, "is empty").with_help("a manifest has apiVersion, kind and metadata")
        );
    }
    Ok(source)
}

fn not_utf8(name: &str, error: &std::string::FromUtf8Error) -> Trouble {
    let good = error.utf8_error().valid_up_to();
    let bad = error.as_bytes()[good];
    let before = String::from_utf8_lossy(&error.as_bytes()[..good]).into_owned();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count();
    let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
    let source = Rc::new(Source { name: name.into(), text });
    Trouble::new(source, format!("this byte (0x{bad:02x}) is not UTF-8"))
        .at(Place { line, column, width: 1 })
        .noting("save the file as UTF-8")
}
