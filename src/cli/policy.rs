//! Whom peers serve, as users write it.

use super::Failure;
use super::args::Args;
use crate::wire::native::Policy;

/// Reads `--policy`, if the command has it and it is given.
pub(super) fn policy(args: &Args) -> Result<Option<Policy>, Failure> {
    args.option("policy", parse_policy)
}

fn parse_policy(text: &str) -> Result<Policy, &'static str> {
    match text {
        "fleet" => Ok(Policy::Fleet),
        "fair" => Ok(Policy::Fair),
        _ => Err("not fleet or fair"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_one_of_two_words() {
        assert_eq!(parse_policy("fleet"), Ok(Policy::Fleet));
        assert_eq!(parse_policy("fair"), Ok(Policy::Fair));
        for text in ["", "Fair", "tit-for-tat", "fleet "] {
            assert!(parse_policy(text).is_err(), "{text}");
        }
    }
}
