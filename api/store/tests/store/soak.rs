//! How much is tested: little by default, more when the environment says so.

/// The number in an environment variable.
pub fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")),
        Err(_) => default,
    }
}

/// Where chance begins.
pub fn seed() -> u64 {
    number("BERTH_SEED", 1)
}
