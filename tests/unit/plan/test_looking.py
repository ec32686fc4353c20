"""What the looking verbs count and draw."""

from hypothesis import given
from hypothesis import strategies as st

from wardian.plan.looking import Branch, ImageSeen, LayerSeen, Shared, lines, sharers, sharing, total


def image(name: str, *sizes: int) -> ImageSeen:
    """An image whose layers are told apart by their sizes."""
    layers = tuple(LayerSeen(f"sha256:{size:064x}", size, f"layer {size}") for size in sizes)
    return ImageSeen(name, f"sha256:{abs(hash(sizes)):064x}", layers=layers)


def test_layers_of_other_images_are_shared_and_names_of_one_image_are_not() -> None:
    train, dev, same = image("train", 1, 10, 100), image("dev", 1, 10, 1000), image("train:again", 1, 10, 100)
    assert sharing(train, [train, dev, same]) == Shared(11, 100)
    held = sharers(train, [dev, train, same, image("base", 1)])
    assert [list(references) for references in held.values()] == [["base", "dev"], ["dev"], []]
    assert total([train, dev, same]) == 1111


def test_a_layer_that_occurs_twice_counts_once() -> None:
    assert image("a", 5, 5, 1).size == 6
    assert sharing(image("a", 5, 5, 1), [image("b", 5)]) == Shared(5, 1)


def test_no_images() -> None:
    assert total([]) == 0
    assert sharing(image("a"), []) == Shared(0, 0)


@given(st.lists(st.lists(st.integers(1, 30), max_size=6), max_size=5))
def test_what_is_shared_and_what_is_not_make_the_whole(images: list[list[int]]) -> None:
    known = [image(f"i{at}", *sizes) for at, sizes in enumerate(images)]
    for one in known:
        share = sharing(one, known)
        assert share.shared + share.unique == one.size
    assert total(known) <= sum(one.size for one in known)
    assert total(known) == sum({size for sizes in images for size in sizes})


def test_a_tree_is_drawn() -> None:
    tree = Branch("a", (Branch("b", (Branch("c"), Branch("d", (Branch("e"),)))), Branch("f", (Branch("g"),))))
    assert "\n".join(lines(tree)) == "a\n├─ b\n│  ├─ c\n│  └─ d\n│     └─ e\n└─ f\n   └─ g"
    assert lines(Branch("alone")) == ["alone"]
