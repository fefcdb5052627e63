//! What holds now, from what the brokers say one after the other. Pure.
//!
//! Brokers disagree for a while after each change, and a broker that was paused repeats what it knew before. So a
//! partition's highest leader epoch wins. Within one epoch the leader itself knows the ISR first.

use std::collections::BTreeMap;

use crate::event::Event;
use crate::kafka::{Offsets, PartitionView, TopicView, View};

/// What is known about the lab.
#[derive(Debug, Default)]
pub struct Facts {
    /// The last view of each broker that answers.
    views: BTreeMap<u32, View>,
    /// Whether each broker that was asked answers, and why not.
    answers: BTreeMap<u32, Result<(), String>>,
    controller: Option<(Option<u32>, Option<i32>)>,
    topics: BTreeMap<String, TopicFacts>,
}

impl Facts {
    /// Facts about these topics.
    pub fn about(topics: &[String]) -> Self {
        let mut facts = Facts::default();
        facts.keep(topics);
        facts
    }

    /// From now on these topics count, and no others.
    pub fn keep(&mut self, topics: &[String]) {
        self.topics.retain(|topic, _| topics.contains(topic));
        for topic in topics {
            self.topics.entry(topic.clone()).or_default();
        }
    }

    /// Whether some broker knows a topic.
    pub fn knows(&self, topic: &str) -> bool {
        self.topics.get(topic).is_some_and(|topic| topic.shape.as_ref().is_some_and(|(id, _)| id.is_some()))
    }

    /// Takes a broker's view. `names_controller` is false in KRaft mode.
    pub fn view(&mut self, broker: u32, view: View, names_controller: bool) -> Vec<Event> {
        let mut events = self.answered(broker, Ok(()));
        self.views.insert(broker, view);
        if names_controller {
            events.extend(self.named_controller());
        }
        let controller = self.controller.and_then(|(controller, _)| controller);
        for (name, topic) in &mut self.topics {
            let known = self.views.iter().filter_map(|(by, view)| Some((*by, view.topics.get(name)?)));
            events.extend(topic.now(name, &known.collect::<Vec<_>>(), controller));
        }
        events
    }

    /// Takes it that a broker does not answer. What it said last counts no longer.
    pub fn silence(&mut self, broker: u32, why: String) -> Vec<Event> {
        self.views.remove(&broker);
        self.answered(broker, Err(why))
    }

    /// Takes the leader of KRaft's quorum and its epoch.
    pub fn quorum(&mut self, (leader, epoch): (u32, i32)) -> Vec<Event> {
        // A broker that was paused may still name the leader of an earlier epoch.
        match self.controller {
            Some((_, Some(known))) if epoch < known => Vec::new(),
            _ => self.controller_is(Some(leader), Some(epoch)),
        }
    }

    /// Takes the offsets of a topic's partitions from a broker, unless it is known not to lead them any more.
    pub fn offsets(&mut self, broker: u32, topic: &str, offsets: &[(i32, Offsets)]) {
        if let Some(topic) = self.topics.get_mut(topic) {
            topic.offsets(broker, offsets);
        }
    }

    /// Returns the offsets that changed since the last call, an event for each topic.
    pub fn moved(&mut self) -> Vec<Event> {
        let moved = self.topics.iter_mut().filter_map(|(name, topic)| {
            let partitions = topic.moved();
            (!partitions.is_empty()).then(|| Event::Offsets { topic: name.clone(), partitions })
        });
        moved.collect()
    }

    fn answered(&mut self, broker: u32, answer: Result<(), String>) -> Vec<Event> {
        let before = self.answers.insert(broker, answer.clone());
        // Why it does not answer may read otherwise each time; that it does not is what counts.
        if before.is_some_and(|before| before.is_ok() == answer.is_ok()) {
            return Vec::new();
        }
        vec![Event::Broker { broker, answers: answer.is_ok(), why: answer.err() }]
    }

    /// The controller that most brokers name. Of two that as many name, the one that was named before stays.
    fn named_controller(&mut self) -> Vec<Event> {
        let before = self.controller.and_then(|(controller, _)| controller);
        let named = self.views.values().filter_map(|view| view.controller);
        self.controller_is(most(named, before.as_ref()), None)
    }

    fn controller_is(&mut self, controller: Option<u32>, epoch: Option<i32>) -> Vec<Event> {
        if self.controller == Some((controller, epoch)) {
            return Vec::new();
        }
        self.controller = Some((controller, epoch));
        vec![Event::Controller { controller, epoch }]
    }
}

/// Returns what is said most often. Of two that are said as often, the one that held `before` stays.
fn most<T: Ord>(said: impl Iterator<Item = T>, before: Option<&T>) -> Option<T> {
    let mut counts: BTreeMap<T, usize> = BTreeMap::new();
    said.for_each(|one| *counts.entry(one).or_default() += 1);
    let most = counts.into_iter().max_by_key(|(one, count)| (*count, before == Some(one)));
    most.map(|(one, _)| one)
}

/// What is known about a topic.
#[derive(Debug, Default)]
struct TopicFacts {
    /// Its id, if it exists, and its number of partitions; `None` before any broker was asked.
    shape: Option<(Option<String>, usize)>,
    partitions: BTreeMap<i32, PartitionView>,
    offsets: BTreeMap<i32, Offsets>,
    /// The partitions whose offsets changed since they were last taken.
    moved: BTreeMap<i32, Offsets>,
}

impl TopicFacts {
    /// Takes what the brokers that know it say now.
    fn now(&mut self, name: &str, views: &[(u32, &TopicView)], controller: Option<u32>) -> Vec<Event> {
        let mut events = Vec::new();
        let before = self.shape.clone().and_then(|(id, _)| id);
        // A topic that was recreated has two ids for a moment; most brokers decide, and the former one if none do.
        let id = most(views.iter().map(|(_, view)| view.id.clone()), before.as_ref());
        let of_topic: Vec<_> = views.iter().filter(|(_, view)| Some(&view.id) == id.as_ref()).collect();
        let count = of_topic.iter().map(|(_, view)| view.partitions.len()).max().unwrap_or(0);
        let shape = (id.clone(), count);
        if self.shape.as_ref() != Some(&shape) {
            if before != id {
                // Epochs and offsets of another topic say nothing about this one.
                *self = TopicFacts::default();
            }
            self.shape = Some(shape);
            events.push(Event::Topic { topic: name.to_owned(), topic_id: id, partitions: count });
        }
        let said = of_topic.iter().flat_map(|(by, view)| view.partitions.iter().map(move |one| (*by, one)));
        for (by, view) in best(said, controller) {
            let known = self.partitions.get(&view.partition);
            if known.is_none_or(|known| known.epoch <= view.epoch && known != view) {
                self.partitions.insert(view.partition, view.clone());
                let PartitionView { partition, leader, epoch, isr, replicas } = view.clone();
                events.push(Event::Partition { topic: name.to_owned(), partition, leader, epoch, isr, replicas, by });
            }
        }
        events
    }

    fn offsets(&mut self, broker: u32, offsets: &[(i32, Offsets)]) {
        for (partition, offsets) in offsets {
            let leads = self.partitions.get(partition).is_some_and(|known| known.leader == Some(broker));
            if leads && self.offsets.insert(*partition, *offsets) != Some(*offsets) {
                self.moved.insert(*partition, *offsets);
            }
        }
    }

    fn moved(&mut self) -> Vec<(i32, i64, i64)> {
        let moved = std::mem::take(&mut self.moved).into_iter();
        moved.map(|(partition, at)| (partition, at.first, at.high_watermark)).collect()
    }
}

/// For each partition, the view that counts, and the broker whose view it is.
fn best<'a>(
    said: impl Iterator<Item = (u32, &'a PartitionView)>,
    controller: Option<u32>,
) -> impl Iterator<Item = (u32, &'a PartitionView)> {
    let rank = |by: u32, view: &PartitionView| {
        (view.epoch, view.leader == Some(by), controller == Some(by), std::cmp::Reverse(by))
    };
    let mut best: BTreeMap<i32, (u32, &PartitionView)> = BTreeMap::new();
    for (by, one) in said {
        let better = best.get(&one.partition).is_none_or(|(who, known)| rank(by, one) > rank(*who, known));
        if better {
            best.insert(one.partition, (by, one));
        }
    }
    best.into_values()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(partition: i32, leader: u32, epoch: i32, isr: &[u32]) -> PartitionView {
        PartitionView { partition, leader: Some(leader), epoch, isr: isr.to_vec(), replicas: vec![0, 1, 2] }
    }

    /// A broker's view, with a topic `test` of this id.
    fn view_of(id: &str, controller: u32, one: PartitionView) -> View {
        let topic = TopicView { id: id.into(), partitions: vec![one] };
        View { controller: Some(controller), topics: [("test".into(), topic)].into() }
    }

    fn view(controller: u32, one: PartitionView) -> View {
        view_of("a", controller, one)
    }

    fn about_test() -> Facts {
        Facts::about(&["test".into()])
    }

    fn topic_is(id: Option<&str>, partitions: usize) -> Event {
        Event::Topic { topic: "test".into(), topic_id: id.map(Into::into), partitions }
    }

    /// Three brokers that say the same.
    fn agreed() -> Facts {
        let mut facts = about_test();
        for broker in 0..3 {
            facts.view(broker, view(0, partition(0, 1, 5, &[0, 1, 2])), true);
        }
        facts
    }

    #[test]
    fn what_all_say_is_told_once() {
        let mut facts = about_test();
        let told = facts.view(2, view(0, partition(0, 1, 5, &[0, 1, 2])), true);
        assert_eq!(
            told,
            [
                Event::Broker { broker: 2, answers: true, why: None },
                Event::Controller { controller: Some(0), epoch: None },
                topic_is(Some("a"), 1),
                Event::Partition {
                    topic: "test".into(),
                    partition: 0,
                    leader: Some(1),
                    epoch: 5,
                    isr: vec![0, 1, 2],
                    replicas: vec![0, 1, 2],
                    by: 2
                },
            ]
        );
        assert_eq!(facts.view(2, view(0, partition(0, 1, 5, &[0, 1, 2])), true), []);
        let other = facts.view(0, view(0, partition(0, 1, 5, &[0, 1, 2])), true);
        assert_eq!(other, [Event::Broker { broker: 0, answers: true, why: None }]);
    }

    #[test]
    fn a_broker_that_was_paused_repeats_what_it_knew_and_changes_nothing() {
        let mut facts = agreed();
        let moved = facts.view(0, view(0, partition(0, 2, 6, &[0, 2])), true);
        assert!(matches!(moved[..], [Event::Partition { leader: Some(2), epoch: 6, by: 0, .. }]), "{moved:?}");
        // Broker 1 led in epoch 5, and still thinks so.
        assert_eq!(facts.view(1, view(0, partition(0, 1, 5, &[0, 1, 2])), true), []);
        // Even if nobody else answers any more.
        for silent in [0, 2] {
            facts.silence(silent, "no answer".into());
        }
        assert_eq!(facts.view(1, view(0, partition(0, 1, 5, &[1])), true), []);
    }

    #[test]
    fn within_an_epoch_the_leader_knows_the_isr_first() {
        let mut facts = agreed();
        assert_eq!(facts.view(0, view(0, partition(0, 1, 5, &[1, 2])), true), []);
        let told = facts.view(1, view(0, partition(0, 1, 5, &[1])), true);
        assert!(matches!(&told[..], [Event::Partition { isr, by: 1, .. }] if isr[..] == [1]), "{told:?}");
    }

    #[test]
    fn the_controller_is_the_one_that_most_brokers_name_and_a_tie_changes_nothing() {
        let mut facts = agreed();
        let named = |facts: &mut Facts, broker, controller| {
            let told = facts.view(broker, view(controller, partition(0, 1, 5, &[0, 1, 2])), true);
            told.into_iter().find_map(|event| match event {
                Event::Controller { controller, .. } => Some(controller),
                _ => None,
            })
        };
        assert_eq!(named(&mut facts, 2, 2), None);
        facts.silence(0, "no answer".into());
        assert_eq!(named(&mut facts, 2, 2), None, "one against one");
        assert_eq!(named(&mut facts, 1, 2), Some(Some(2)));
    }

    #[test]
    fn a_quorum_of_an_earlier_epoch_is_no_news() {
        let mut facts = Facts::default();
        let is = |controller, epoch| [Event::Controller { controller: Some(controller), epoch: Some(epoch) }];
        assert_eq!(facts.quorum((100, 4)), is(100, 4));
        assert_eq!(facts.quorum((101, 6)), is(101, 6));
        assert_eq!(facts.quorum((100, 4)), []);
        assert_eq!(facts.quorum((101, 6)), []);
    }

    #[test]
    fn a_recreated_topic_begins_anew_with_lower_epochs() {
        let mut facts = agreed();
        let told: Vec<Event> = (0..3)
            .flat_map(|broker| facts.view(broker, view_of("b", 0, partition(0, 2, 0, &[0, 1, 2])), true))
            .collect();
        assert!(told.contains(&topic_is(Some("b"), 1)), "{told:?}");
        assert!(told.iter().any(|event| matches!(event, Event::Partition { leader: Some(2), epoch: 0, .. })));
        assert!(facts.knows("test"));
        let none = || View { controller: Some(0), topics: BTreeMap::new() };
        let gone: Vec<Event> = (0..3).flat_map(|broker| facts.view(broker, none(), true)).collect();
        assert_eq!(gone, [topic_is(None, 0)]);
        assert!(!facts.knows("test"));
    }

    #[test]
    fn offsets_count_from_the_leader_only_and_are_told_when_they_change() {
        let mut facts = agreed();
        let at = |high_watermark| [(0, Offsets { first: 3, high_watermark })];
        let view = view(0, partition(0, 1, 5, &[0, 1, 2]));
        assert_eq!((view.led_by(1), view.led_by(0)), (vec![("test", vec![0])], vec![]));
        facts.offsets(0, "test", &at(50));
        assert_eq!(facts.moved(), []);
        facts.offsets(1, "test", &at(50));
        facts.offsets(1, "test", &at(51));
        assert_eq!(facts.moved(), [Event::Offsets { topic: "test".into(), partitions: vec![(0, 3, 51)] }]);
        facts.offsets(1, "test", &at(51));
        assert_eq!(facts.moved(), []);
    }

    #[test]
    fn topics_are_told_apart_and_one_that_counts_no_longer_is_silent() {
        let mut facts = agreed();
        let both = |id: &str| {
            let mut both = view(0, partition(0, 1, 5, &[0, 1, 2]));
            let drill = TopicView { id: id.into(), partitions: vec![partition(0, 2, 0, &[2])] };
            both.topics.insert("drill-1".into(), drill);
            both
        };
        assert_eq!(facts.view(0, both("d"), true), []);
        facts.keep(&["test".into(), "drill-1".into()]);
        let told = facts.view(0, both("d"), true);
        assert!(matches!(&told[..], [Event::Topic { topic, .. }, Event::Partition { .. }] if topic == "drill-1"));
        facts.offsets(2, "drill-1", &[(0, Offsets { first: 0, high_watermark: 9 })]);
        facts.offsets(1, "test", &[(0, Offsets { first: 0, high_watermark: 8 })]);
        assert_eq!(facts.moved().len(), 2);
        facts.keep(&["test".into()]);
        assert_eq!(facts.view(0, both("e"), true), []);
    }
}
