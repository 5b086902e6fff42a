//! The table at the end of the demo.

use std::collections::BTreeSet;
use std::time::Duration;

use super::ledger::{Counted, Figures};
use crate::table::{Align, Table, thousands};

/// What happened, for people. `limits`: of the rule before the swap and of the one after it.
pub fn ending(figures: &Figures, limits: [u64; 2], took: Duration) -> String {
    let Figures { total, before_swap, after_swap, .. } = figures;
    let heads = limits.map(|limit| format!("LIMIT {limit}"));
    let mut table = Table::new([
        ("WHAT HAPPENED", Align::Left),
        (&heads[0], Align::Right),
        (&heads[1], Align::Right),
        ("TOTAL", Align::Right),
    ]);
    let mut row = |name: &str, of: &dyn Fn(&Counted) -> u64| {
        let [before, after, all] =
            [before_swap, after_swap, total].map(|counted| thousands(of(counted)));
        table.row([name.to_owned(), before, after, all]);
    };
    row("flights sent", &|counted| counted.sent);
    row("accepted", &|counted| counted.accepted);
    let codes: BTreeSet<&String> = total.rejected.keys().collect();
    for code in codes {
        row(&format!("refused: {code}"), &|counted| {
            counted.rejected.get(code).copied().unwrap_or(0)
        });
    }
    for (name, count) in [
        ("notices, one per aircraft and day", figures.notices),
        ("mails", figures.mails),
        ("flights read back, byte for byte", figures.read_back),
    ] {
        table.row([name.to_owned(), String::new(), String::new(), thousands(count)]);
    }
    let swaps =
        figures.swapped_at.iter().map(|at| format!("{}:{}", at.partition, thousands(at.offset.0)));
    let swaps: Vec<String> = swaps.collect();
    format!(
        "\n{table}\nThe limit changed while flights were being published, at partition:offset\n\
         {}. The story took {:.1} s.\n",
        swaps.join("  "),
        took.as_secs_f64()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use weir_wire::admin::ChangedAt;
    use weir_wire::ids::{Offset, PartitionId};

    #[test]
    fn the_table_has_every_figure() {
        let counted = |sent, accepted, over, no_key| Counted {
            sent,
            accepted,
            rejected: [("daily-limit".to_owned(), over), ("no-key".to_owned(), no_key)].into(),
        };
        let figures = Figures {
            total: counted(10_000, 9_700, 286, 14),
            before_swap: counted(5_100, 4_860, 230, 10),
            after_swap: counted(4_900, 4_840, 56, 4),
            swapped_at: vec![ChangedAt { partition: PartitionId(0), offset: Offset(1_204) }],
            notices: 260,
            mails: 260,
            read_back: 9_700,
        };
        expect![[r#"

            WHAT HAPPENED                      LIMIT 2  LIMIT 3   TOTAL
            flights sent                         5,100    4,900  10,000
            accepted                             4,860    4,840   9,700
            refused: daily-limit                   230       56     286
            refused: no-key                         10        4      14
            notices, one per aircraft and day                       260
            mails                                                   260
            flights read back, byte for byte                      9,700

            The limit changed while flights were being published, at partition:offset
            0:1,204. The story took 7.2 s.
        "#]]
        .assert_eq(&ending(&figures, [2, 3], Duration::from_millis(7_240)));
    }
}
