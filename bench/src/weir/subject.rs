//! A broker under some rules, as a subject: each run has a topic of its own.

use futures::FutureExt;
use futures::future::BoxFuture;
use weir_client::Admin;
use weir_wire::admin::TopicSpec;
use weir_wire::ids::TopicName;

use super::broker::Broker;
use super::expectation::{self, Refusing, Stream};
use super::publish::{Published, publish};
use super::rule::{Rule, name};
use crate::load::{Load, Pace, Setting, Subject};
use crate::measure::Measured;

/// What is published before it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// Nothing.
    Nothing,
    /// One event of each key, so that the rules' state is as large as it gets.
    EachKey,
    /// What makes the rule refuse this share later.
    Refusing(Refusing),
}

/// A broker, and the rules of its topics.
pub struct Weir {
    /// The broker.
    pub broker: Broker,
    /// How it is told what to do.
    pub admin: Admin,
    rules: Vec<Rule>,
    before: Before,
    topics: u32,
}

impl Weir {
    /// Starts a broker, and pushes the rules.
    pub async fn start(setting: &Setting, rules: &[Rule], before: Before) -> Result<Self, String> {
        let broker = Broker::start(setting)?;
        let admin = broker.admin()?;
        for rule in rules {
            rule.push(&admin, &setting.root).await?;
        }
        Ok(Self { broker, admin, rules: rules.to_vec(), before, topics: 0 })
    }

    /// A new topic under the rules, with what comes before.
    pub async fn topic(&mut self, load: &Load) -> Result<Topic, String> {
        self.topics += 1;
        let name = name(&format!("bench-{}", self.topics), TopicName::parse)?;
        let spec = TopicSpec { partitions: load.partitions, ..TopicSpec::named(name.clone()) };
        self.admin.create_topic(&spec).await.map_err(|error| self.broker.blame(&error))?;
        for (order, rule) in (0..).zip(&self.rules) {
            rule.bind(&self.admin, &name, order).await?;
        }
        let mut topic = Topic { name, accepted: 0, refused: 0 };
        let unpaced = Load { pace: Pace::AsFastAsItGoes, duration: PREPARATION_MAX, ..*load };
        match self.before {
            Before::Nothing => {}
            Before::EachKey => drop(self.put(&mut topic, &unpaced, expectation::each_key).await?),
            Before::Refusing(refusing) => {
                let stream = |load: &Load, lane| refusing.preparation(load, lane);
                self.put(&mut topic, &unpaced, stream).await?;
            }
        }
        Ok(topic)
    }

    /// Publishes so many events of the load, however long it takes.
    pub async fn fill(&self, topic: &mut Topic, load: &Load, events: u64) -> Result<(), String> {
        let unpaced = Load { pace: Pace::AsFastAsItGoes, duration: PREPARATION_MAX, ..*load };
        let each = events / u64::from(load.lanes());
        let stream = |load: &Load, lane| -> Stream {
            Box::new(expectation::accepted(load, lane).take(each as usize))
        };
        self.put(topic, &unpaced, stream).await.map(drop)
    }

    /// Starts the broker again after it was killed.
    pub fn start_again(&mut self) -> Result<(), String> {
        self.broker.start_again()?;
        self.admin = self.broker.admin()?;
        Ok(())
    }

    /// Puts the load on a topic.
    pub async fn load(&self, topic: &mut Topic, load: &Load) -> Result<Measured, String> {
        match self.before {
            Before::Refusing(refusing) => {
                self.put(topic, load, |load, lane| refusing.events(load, lane)).await
            }
            Before::Nothing | Before::EachKey => self.put(topic, load, expectation::accepted).await,
        }
    }

    async fn put(
        &self,
        topic: &mut Topic,
        load: &Load,
        stream: impl Fn(&Load, u32) -> Stream,
    ) -> Result<Measured, String> {
        let Published { accepted, refused, measured } =
            publish(&self.broker, &topic.name, load, stream).await?;
        topic.accepted += accepted;
        topic.refused += refused;
        Ok(measured)
    }

    /// Asks the broker whether it has what its answers said, and no more.
    pub async fn check(&self, topic: &Topic) -> Result<(), String> {
        let description = self.admin.topic(&topic.name).await;
        let partitions = description.map_err(|error| self.broker.blame(&error))?.partitions;
        let stored: u64 = partitions.iter().map(|it| it.high_watermark.0).sum();
        let accepted: u64 = partitions.iter().map(|it| it.judged.accepted).sum();
        let rejected: u64 = partitions.iter().map(|it| it.judged.rejected).sum();
        let expected = (topic.accepted, topic.accepted, topic.refused);
        if (stored, accepted, rejected) != expected {
            return Err(format!(
                "the broker has stored {stored}, accepted {accepted} and refused {rejected} events, \
                 and has answered that it accepted {} and refused {}",
                topic.accepted, topic.refused
            ));
        }
        Ok(())
    }

    /// Asks the broker whether it still has all that it accepted, and no more.
    pub async fn check_stored(&self, topic: &Topic) -> Result<(), String> {
        let description = self.admin.topic(&topic.name).await;
        let partitions = description.map_err(|error| self.broker.blame(&error))?.partitions;
        let stored: u64 = partitions.iter().map(|it| it.high_watermark.0).sum();
        match stored == topic.accepted {
            true => Ok(()),
            false => {
                Err(format!("{stored} events are stored, and {} were accepted", topic.accepted))
            }
        }
    }

    /// Deletes a topic: the next has the disk to itself.
    pub async fn delete(&self, topic: &Topic) -> Result<(), String> {
        self.admin.delete_topic(&topic.name).await.map_err(|error| self.broker.blame(&error))
    }
}

/// How long a preparation may take; it ends by itself.
const PREPARATION_MAX: std::time::Duration = std::time::Duration::from_secs(600);

/// A topic, and what was answered to what was sent to it.
#[derive(Debug)]
pub struct Topic {
    /// Its name.
    pub name: TopicName,
    accepted: u64,
    refused: u64,
}

impl Subject for Weir {
    fn run<'a>(&'a mut self, load: &'a Load) -> BoxFuture<'a, Result<Measured, String>> {
        async move {
            let mut topic = self.topic(load).await?;
            let measured = self.load(&mut topic, load).await?;
            self.check(&topic).await?;
            self.delete(&topic).await?;
            Ok(measured)
        }
        .boxed()
    }
}
