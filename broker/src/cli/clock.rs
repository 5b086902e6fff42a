//! `weir clock`: the broker's time beside the machine's.

use std::path::Path;

use weir_wire::admin::ClockStatus;

use super::Failure;
use super::context;
use super::output::Output;
use crate::table::when;

/// Show the broker's clock beside the machine's, or confirm the machine's.
///
/// A machine's clock that is set forward by more than ten seconds is not followed before somebody
/// says that it is right: windows of a day would be burned. One that is set back is waited for.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  weir clock\n  weir clock --accept")]
pub struct ClockArguments {
    /// The machine's clock is right although it was set: follow it.
    #[arg(long)]
    accept: bool,
}

impl ClockArguments {
    /// Does it.
    pub async fn run(self, context: Option<&Path>, output: Output) -> Result<(), Failure> {
        let admin = context::admin(context)?;
        let status = if self.accept { admin.accept_clock().await? } else { admin.clock().await? };
        output.answer(&status, described)
    }
}

fn described(status: &ClockStatus) -> String {
    let ClockStatus { wall, broker, ahead_ms, alarm } = status;
    let by = ahead_ms.unsigned_abs();
    let difference = match ahead_ms {
        0 => "none".to_owned(),
        1.. => format!("the machine is {by} ms ahead"),
        _ => format!("the machine is {by} ms behind"),
    };
    let (wall, broker) = (when(*wall), when(*broker));
    let mut text = format!("machine     {wall}\nbroker      {broker}\ndifference  {difference}\n");
    if let Some(why) = alarm {
        text += &format!("{why}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use weir_wire::ids::Timestamp;

    #[test]
    fn both_clocks_are_shown() {
        let mut status =
            ClockStatus { wall: Timestamp(5), broker: Timestamp(5), ahead_ms: 0, alarm: None };
        expect![[r#"
            machine     1970-01-01T00:00:00Z
            broker      1970-01-01T00:00:00Z
            difference  none
        "#]]
        .assert_eq(&described(&status));
        (status.wall, status.ahead_ms) = (Timestamp(20_005), 20_000);
        status.alarm = Some("the wall clock was set forward".to_owned());
        expect![[r#"
            machine     1970-01-01T00:00:20Z
            broker      1970-01-01T00:00:00Z
            difference  the machine is 20000 ms ahead
            the wall clock was set forward
        "#]]
        .assert_eq(&described(&status));
    }
}
