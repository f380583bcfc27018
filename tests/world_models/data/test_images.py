import numpy as np
import pytest

from dexworld.world_models.data.images import check_png, decode_png, encode_png


def test_pictures_are_kept_exactly():
    frames = np.random.default_rng(0).integers(0, 256, (3, 20, 24, 3), np.uint8)
    files = encode_png(frames)
    check_png("key", files, (20, 24, 3))
    np.testing.assert_array_equal(decode_png(files), frames)


def test_other_files_are_refused():
    small, large = (
        encode_png(np.zeros((1, 8, 8, 3), np.uint8)),
        encode_png(np.zeros((1, 8, 9, 3), np.uint8)),
    )
    with pytest.raises(ValueError, match="'key': frame 1 is a PNG of 8x9"):
        check_png("key", [*small, *large], (8, 8, 3))
    with pytest.raises(ValueError, match="pictures of one size"):
        decode_png([*small, *large])
    with pytest.raises(ValueError, match="picture 1 cannot be decoded"):
        decode_png([*small, large[0][:40]])
