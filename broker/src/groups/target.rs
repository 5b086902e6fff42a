//! Who should hold which partition. Pure: holders in, holders out.
//!
//! Promises: nobody has two partitions more than another; only what has to move moves; the same
//! members and holders give the same answer.

use std::collections::BTreeMap;

use weir_wire::ids::MemberId;

/// Who should hold each partition, when `holders` hold them now. `members` stand in the order in
/// which they joined; holders that are none of them do not count. Nobody where there is no member.
pub fn target(holders: &[Option<MemberId>], members: &[MemberId]) -> Vec<Option<MemberId>> {
    if members.is_empty() {
        return vec![None; holders.len()];
    }
    let mut shares = shares(holders, members);
    let mut wanted: Vec<Option<MemberId>> = holders
        .iter()
        .map(|holder| {
            let share = shares.get_mut(&(*holder)?)?;
            *share = share.checked_sub(1)?;
            *holder
        })
        .collect();
    // What is left of the shares goes to what nobody may keep.
    let mut left = members.iter().flat_map(|member| {
        std::iter::repeat_n(*member, shares.get(member).copied().unwrap_or_default())
    });
    for free in wanted.iter_mut().filter(|member| member.is_none()) {
        *free = left.next();
    }
    wanted
}

/// How many partitions each member should have. Where they do not come out even, those that hold
/// the most keep one more.
fn shares(holders: &[Option<MemberId>], members: &[MemberId]) -> BTreeMap<MemberId, usize> {
    let held = |member: &MemberId| holders.iter().flatten().filter(|one| *one == member).count();
    let mut order: Vec<(usize, MemberId)> =
        members.iter().map(|member| (held(member), *member)).collect();
    // Stable: among equals, who joined first.
    order.sort_by_key(|(held, _)| std::cmp::Reverse(*held));
    let (even, more) = (holders.len() / members.len(), holders.len() % members.len());
    let share = |(place, (_, member)): (usize, (usize, MemberId))| {
        (member, even + usize::from(place < more))
    };
    order.into_iter().enumerate().map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(holders: &str, members: &str, expected: &str) {
        let member = |letter: char| match letter {
            '-' => None,
            letter => Some(MemberId(letter as u64)),
        };
        let holders: Vec<_> = holders.chars().map(member).collect();
        let members: Vec<_> = members.chars().filter_map(member).collect();
        let wanted: String = target(&holders, &members)
            .into_iter()
            .map(|member| member.map_or('-', |MemberId(letter)| letter as u8 as char))
            .collect();
        assert_eq!(wanted, expected);
    }

    #[test]
    fn only_what_has_to_move_moves() {
        check("----", "", "----");
        check("----", "a", "aaaa");
        check("aaaa", "ab", "aabb");
        check("aabb", "abc", "aabc");
        check("aabc", "ac", "aacc");
        check("aabc", "bc", "bcbc");
        check("abc", "abcd", "abc");
        check("bbbba", "ab", "bbbaa");
        check("xxab", "ab", "abab");
    }

    proptest! {
        #[test]
        fn it_is_even_and_moves_as_little_as_can_be(
            held in prop::collection::vec(0u64..12, 0..64),
            members in prop::collection::btree_set(1u64..10, 1..8),
        ) {
            let holders: Vec<_> = held.iter().map(|id| (*id > 0).then_some(MemberId(*id))).collect();
            let members: Vec<_> = members.into_iter().map(MemberId).collect();
            let wanted = target(&holders, &members);
            let count = |all: &[Option<MemberId>], of| all.iter().filter(|one| **one == Some(of)).count();
            let counts: Vec<_> = members.iter().map(|member| count(&wanted, *member)).collect();
            prop_assert!(wanted.iter().all(Option::is_some));
            prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1);
            // At best everyone keeps what it has, up to its share, and the larger shares are with
            // those that hold the most.
            let mut held: Vec<_> = members.iter().map(|member| count(&holders, *member)).collect();
            held.sort_unstable_by(|a, b| b.cmp(a));
            let (even, more) = (holders.len() / members.len(), holders.len() % members.len());
            let best: usize = held
                .iter()
                .enumerate()
                .map(|(place, held)| (*held).min(even + usize::from(place < more)))
                .sum();
            let kept = holders.iter().zip(&wanted).filter(|(old, new)| old == new).count();
            prop_assert_eq!(kept, best);
            prop_assert_eq!(target(&wanted, &members), wanted);
        }
    }
}
