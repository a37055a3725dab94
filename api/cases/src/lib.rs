//! How many cases a property is tried with: as many as its test names, and more in proportion where `PROPTEST_CASES`
//! asks for more than proptest's usual 256.

use proptest::test_runner::Config;

/// What proptest tries when nothing else is asked for.
const USUAL: u64 = 256;

/// The configuration of a property that `usual` cases are enough for, in a usual run.
pub fn cases(usual: u32) -> Config {
    let config = Config::default();
    Config { cases: in_proportion(usual, config.cases), ..config }
}

/// As many more than `usual` as `asked` is more than 256; at least one.
fn in_proportion(usual: u32, asked: u32) -> u32 {
    let cases = u64::from(usual) * u64::from(asked) / USUAL;
    u32::try_from(cases).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_raises_and_lowers_every_property_in_proportion() {
        for (usual, asked, cases) in [
            (500, 256, 500),
            (500, 2048, 4000),
            (2000, 2048, 16_000),
            (300, 128, 150),
            (300, 0, 1),
            (u32::MAX, u32::MAX, u32::MAX),
        ] {
            assert_eq!(in_proportion(usual, asked), cases, "{usual} usually, {asked} asked for");
        }
    }
}
