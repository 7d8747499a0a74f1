from collections import Counter

import numpy as np
import pytest

from lightning_codec.data.sampling import EpochSampler, ShardSampler, Stream, generator, item_at, sample_key


def test_generator_is_a_function_of_its_address_alone():
    addresses = [(0, Stream.CROP, 0, 0), (1, Stream.CROP, 0, 0), (0, Stream.ORDER, 0, 0)]
    addresses += [(0, Stream.CROP, 1, 0), (0, Stream.CROP, 0, 1), (2**64 - 1, Stream.CROP, 2**40, 2**40)]
    draws = [tuple(generator(*address).random(4)) for address in addresses]
    assert len(set(draws)) == len(addresses)
    assert draws == [tuple(generator(*address).random(4)) for address in addresses]


def test_neighbouring_positions_do_not_overlap():
    numbers = np.concatenate([generator(0, Stream.CROP, 0, i).integers(2**63, size=1000) for i in range(20)])
    assert len(np.unique(numbers)) == numbers.size


def test_every_pass_is_another_permutation():
    passes = [[item_at(7, 10 * p + i, 10) for i in range(10)] for p in range(4)]
    assert all(sorted(order) == list(range(10)) for order in passes)
    assert len({tuple(order) for order in passes}) == 4
    assert passes[0] != [item_at(8, i, 10) for i in range(10)]


@pytest.mark.parametrize(("samples", "length"), [(None, 12), (7, 8), (30, 32)])
def test_files_are_drawn_equally_often_over_epochs(samples, length):
    sampler = EpochSampler(items=10, samples=samples, batch_size=4, seed=0)
    drawn = Counter[int]()
    for epoch in range(6):
        sampler.set_epoch(epoch)
        keys = list(sampler)
        assert len(keys) == len(sampler) == sampler.epoch_length == length
        assert [(key.epoch, key.position) for key in keys] == [(epoch, i) for i in range(length)]
        drawn.update(key.item for key in keys)
        assert max(drawn.values()) - min(drawn[item] for item in range(10)) <= 1


def test_processes_share_the_batches_of_one_process():
    one = EpochSampler(items=10, samples=None, batch_size=6, seed=3)
    three = [EpochSampler(10, None, 2, 3, rank, world_size=3) for rank in range(3)]
    for sampler in [one, *three]:
        sampler.set_epoch(5)
    shares = [list(sampler) for sampler in three]
    whole = list(one)
    assert [len(share) for share in shares] == [4, 4, 4]
    for k in range(2):
        joint = [key for share in shares for key in share[2 * k : 2 * k + 2]]
        assert sorted(joint) == sorted(whole[6 * k : 6 * k + 6])


def test_entering_an_epoch_yields_its_rest_and_then_whole_epochs():
    sampler = EpochSampler(items=10, samples=20, batch_size=4, seed=0)
    whole = []
    for epoch in (2, 3):
        sampler.set_epoch(epoch)
        whole.append(list(sampler))
    sampler.enter(epoch=2, batch=3)
    sampler.set_epoch(2)  # as Lightning does before the resumed epoch
    assert list(sampler) == whole[0][12:]
    assert len(sampler) == 20  # the Trainer counts the batches of a whole epoch
    sampler.set_epoch(3)
    assert list(sampler) == whole[1]


@pytest.mark.parametrize("items", [1, 4, 24])
def test_evaluation_shares_are_a_partition(items):
    shares = [ShardSampler(items, rank, world_size=5) for rank in range(5)]
    indices = [index for share in shares for index in share]
    assert sorted(indices) == list(range(items))
    assert sum(len(share) for share in shares) == items
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_no_evaluation_share_is_empty_where_items_may_repeat():
    shares = [list(ShardSampler(2, rank, world_size=5, repeat=True)) for rank in range(5)]
    assert shares == [[0], [1], [0], [1], [0]]
    assert [list(ShardSampler(7, rank, 3, repeat=True)) for rank in range(3)] == [[0, 3, 6], [1, 4], [2, 5]]
    assert list(ShardSampler(0, 1, 2, repeat=True)) == []


def test_an_epoch_is_whole_optimiser_steps_and_accumulation_does_not_change_it():
    whole = EpochSampler(items=10, samples=12, batch_size=8, seed=0)
    halves = EpochSampler(items=10, samples=12, batch_size=4, seed=0, accumulation=2)
    assert len(halves) == len(whole) == 16
    assert list(halves) == list(whole)
    shared = [EpochSampler(10, 12, 2, 0, rank, world_size=2, accumulation=2) for rank in range(2)]
    assert sorted(key for share in shared for key in share) == list(whole)


def test_plain_index_is_a_position_of_epoch_zero():
    assert sample_key(5) == (0, 5, 5)
    assert sample_key(sample_key(5)) == (0, 5, 5)
