//! Where a container's root comes from.

use std::fmt;
use std::path::{Component, Path, PathBuf};

/// An image that a manifest names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageRef {
    /// `oci:DIR[:TAG]`: an OCI image layout in an absolute folder of the node; the only image of the layout without
    /// tag.
    OciLayout {
        /// The folder.
        dir: PathBuf,
        /// `org.opencontainers.image.ref.name` in its index.
        tag: Option<String>,
    },
}

impl ImageRef {
    /// Reads an image as a manifest names it; the error says which form works.
    pub fn parse(text: &str) -> Result<ImageRef, String> {
        let Some(rest) = text.strip_prefix("oci:") else {
            return Err(other_form(text));
        };
        let (dir, tag) = match rest.rsplit_once(':') {
            Some((dir, tag)) if !tag.contains('/') => (dir, Some(tag)),
            _ => (rest, None),
        };
        if !dir.starts_with('/') {
            return Err(format!("must name an absolute folder, as `oci:/srv/images/web:1`, got `{text}`"));
        }
        let steps_out = Path::new(dir).components().any(|part| part == Component::ParentDir);
        if steps_out || dir.contains('\0') {
            return Err(format!("must name a folder without `..`, got `{}`", text.escape_debug()));
        }
        if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
            let rule = "must have a tag of letters, digits, `_`, `.` and `-`, at most 128";
            return Err(format!("{rule}, got `{}`", tag.escape_debug()));
        }
        Ok(ImageRef::OciLayout { dir: dir.into(), tag: tag.map(String::from) })
    }
}

fn other_form(text: &str) -> String {
    let works = "name an OCI layout folder on the node as `oci:/srv/images/web:1`, or leave the image out";
    if text.starts_with('/') || text.starts_with('.') {
        return format!("must begin with `oci:`, got `{text}`; did you mean `oci:{text}`?");
    }
    let shown = text.escape_debug();
    format!("cannot pull `{shown}`: pulling from registries is not there yet; {works}")
}

fn is_tag(tag: &str) -> bool {
    let inner = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'.' | b'-');
    (1..=128).contains(&tag.len()) && tag.bytes().all(inner) && !tag.starts_with(['.', '-'])
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImageRef::OciLayout { dir, tag: Some(tag) } => write!(f, "oci:{}:{tag}", dir.display()),
            ImageRef::OciLayout { dir, tag: None } => write!(f, "oci:{}", dir.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[test]
    fn an_image_reads_back_as_written() {
        for text in ["oci:/srv/images/web", "oci:/srv/images/web:1.2", "oci:/srv/a:b/web:latest", "oci:/x:_y"]
        {
            assert_eq!(ImageRef::parse(text).unwrap().to_string(), text);
        }
        let tagged = ImageRef::parse("oci:/srv/a:b/web").unwrap();
        assert_eq!(tagged, ImageRef::OciLayout { dir: "/srv/a:b/web".into(), tag: None });
    }

    fn refused(text: &str, expected: Expect) {
        expected.assert_eq(&ImageRef::parse(text).expect_err(text));
    }

    #[test]
    fn an_image_that_is_not_there_yet_is_told_what_works() {
        refused(
            "nginx:1",
            expect![
                "cannot pull `nginx:1`: pulling from registries is not there yet; name an OCI layout folder on the node as `oci:/srv/images/web:1`, or leave the image out"
            ],
        );
        refused(
            "/srv/web:1",
            expect!["must begin with `oci:`, got `/srv/web:1`; did you mean `oci:/srv/web:1`?"],
        );
        refused(
            "oci:images/web",
            expect!["must name an absolute folder, as `oci:/srv/images/web:1`, got `oci:images/web`"],
        );
        refused("oci:/srv/../etc", expect!["must name a folder without `..`, got `oci:/srv/../etc`"]);
        refused(
            "oci:/srv/web:a b",
            expect!["must have a tag of letters, digits, `_`, `.` and `-`, at most 128, got `a b`"],
        );
        refused(
            "oci:/srv/web:",
            expect!["must have a tag of letters, digits, `_`, `.` and `-`, at most 128, got ``"],
        );
    }
}
