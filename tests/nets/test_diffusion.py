"""The readout head on tiny random diffusion pipelines: what it sees, that it learns, teaches, and names its faults."""

import copy
import json
import shutil
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_diffusion import save_pipeline

from rtpe.decode.settings import DecodeSettings
from rtpe.nets.blocks import normalise
from rtpe.nets.diffusion import Diffusion, load, readout
from rtpe.nets.metadata import save_net
from rtpe.predictors.load import load_predictor
from rtpe.predictors.settings import TeacherSettings
from rtpe.skeleton import COCO17, MPII16, OPENPOSE18

SMALL = {"width": 16, "groups": 2}
ARGMAX = DecodeSettings(refine="argmax", fill_threshold=None)


@pytest.fixture(scope="module", params=[False, True], ids=["SD", "XL"])
def pipeline(request, tmp_path_factory):
    """Its folder, and the same pipeline as diffusers has it."""
    folder = tmp_path_factory.mktemp("pipeline")
    return folder, save_pipeline(folder, request.param)


@pytest.fixture(scope="module")
def sd(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sd")
    save_pipeline(folder)
    return folder


def photographs(count=2, size=64, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def as_images(photos):
    return torch.from_numpy(photos).permute(0, 3, 1, 2)


def prompt(made):
    """What diffusers makes of an empty prompt: context, and of XL the summary."""
    said = made.encode_prompt("", device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False)
    return (said[0], said[2]) if len(said) == 4 else (said[0], None)


def test_nets_are_looked_at_for_their_numbers(pipeline):
    folder, made = pipeline
    net = readout(18, str(folder), **SMALL)
    xl = hasattr(made, "text_encoder_2")
    assert net.look.channels == [16, 16, 8, 8]
    assert net.input == {"size": 32 if xl else 64, "fit": "letterbox"}
    assert net.numbers["backbone"] == str(folder) and net.numbers["joints"] == 18
    (heatmaps,) = net(normalise(as_images(photographs()))).heatmaps
    assert heatmaps.shape == ((2, 18, 16, 16) if xl else (2, 18, 8, 8))


def test_the_empty_prompt_is_the_one_of_diffusers(pipeline):
    folder, made = pipeline
    _, _, context, pooled = load(str(folder))
    for got, want in zip((context, pooled), prompt(made)):
        assert (got is None) == (want is None)
        if want is not None:
            torch.testing.assert_close(got, want)


def test_features_are_the_residual_branches_on_the_way_up(pipeline):
    """Recomputed from what goes into and out of each block: the branch is what is left without the shortcut."""
    folder, made = pipeline
    photos = as_images(photographs())
    seen = readout(18, str(folder), **SMALL).look(normalise(photos))
    branches = []

    def keep(block, inputs, output):
        shortcut = inputs[0] if block.conv_shortcut is None else block.conv_shortcut(inputs[0])
        branches.append(output * block.output_scale_factor - shortcut)

    for block in made.unet.up_blocks:
        for resnet in block.resnets:
            resnet.register_forward_hook(keep)
    with torch.no_grad():
        latents = made.vae.encode(photos / 127.5 - 1).latent_dist.mean * made.vae.config.scaling_factor
        context, pooled = prompt(made)
        also = {"time_ids": torch.tensor([[64, 64, 0, 0, 64, 64.0]] * 2)}
        also = None if pooled is None else {**also, "text_embeds": pooled.repeat(2, 1)}
        made.unet(latents, 1, context.repeat(2, 1, 1), added_cond_kwargs=also)
    assert seen.size_hw == latents.shape[2:] and len(seen.maps) == len(branches) == 4
    for got, want in zip(seen.maps, branches):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)  # float32, after a sum and a difference


@pytest.mark.parametrize("embedded", [1, 999])
def test_the_time_that_is_embedded(sd, embedded):
    look = readout(18, str(sd), embedded=embedded, **SMALL).look
    own = look.unet.time_embedding(look.unet.time_proj(torch.tensor([embedded])))
    got = look(normalise(as_images(photographs(1)))).embedding
    torch.testing.assert_close(got, own)
    other = look.unet.time_embedding(look.unet.time_proj(torch.tensor([1000 - embedded])))
    assert (got - other).abs().max() > 0.01


def test_equal_images_look_equal_unless_latents_are_drawn(sd):
    images = normalise(as_images(photographs(1)))
    for latents, same in (("mode", True), ("sample", False)):
        look = readout(18, str(sd), latents=latents, **SMALL).look
        one, other = look(images), look(images)
        assert torch.equal(one.maps[-1], other.maps[-1]) == same


def test_the_pipeline_is_left_as_it_was_and_no_part_of_the_net(sd):
    """Not copied with it, not trained, not saved; and no hook stays, whatever happens."""
    net = readout(18, str(sd), **SMALL)
    names = [name for name, _ in net.named_parameters()]
    assert set(net.state_dict()) == set(names) and not any("unet" in name for name in names)
    average = copy.deepcopy(net)
    assert average.look is net.look and average.mixing_weights is not net.mixing_weights
    before = net.look.fingerprint()
    net.train()(normalise(as_images(photographs()))).heatmaps[0].square().mean().backward()
    frozen = [*net.look.unet.parameters(), *net.look.vae.parameters()]
    assert all(p.grad is None and not p.requires_grad for p in frozen)
    assert not net.look.unet.training and not net.look.vae.training
    assert [name for name, p in net.named_parameters() if not p.grad.abs().sum() > 0] == []
    with pytest.raises(RuntimeError):
        net.look(torch.zeros(1, 4, 64, 64))  # four colours
    assert net.look.fingerprint() == before and not any(conv._forward_hooks for conv in net.look.seen_by)


def test_half_of_the_memory_says_nearly_the_same(sd):
    images = normalise(as_images(photographs(1)))
    whole, half = (readout(18, str(sd), half=half, **SMALL).look(images) for half in (False, True))
    assert half.maps[0].dtype == torch.float16
    for one, other in zip(whole.maps, half.maps):
        assert (one - other.float()).abs().max() < 0.02 * one.abs().max()  # 11 bits, through some 20 layers


def test_bf16_stays_near(sd, tmp_path):
    """The latents are float32 all the same: from there on 8 bits, through some 30 layers."""
    settings = {"kind": "readout", "weights": published(tmp_path / "head.pt", sd)}
    settings["numbers"] = {"backbone": str(sd), "embedded": 999, **SMALL}
    exact, near = (
        load_predictor(TeacherSettings(**settings, precision=precision), ARGMAX, OPENPOSE18, "cpu")(photographs(1))
        for precision in ("fp32", "bf16")
    )
    spread = exact[0].maps.heatmaps.std()
    difference = np.abs(near[0].maps.heatmaps - exact[0].maps.heatmaps).mean()
    assert 0 < difference < 0.1 * spread


def test_a_head_learns_two_photographs(sd):
    """On features of random nets, which still differ from place to place: every joint is found in its cell."""
    torch.manual_seed(0)
    net = readout(3, str(sd), width=64, groups=4)
    seen = net.look(normalise(as_images(photographs())))
    cells = torch.tensor([[9, 37, 60], [50, 12, 21]])
    target = torch.zeros(2, 3, 64).scatter(2, cells[..., None], 1.0).view(2, 3, 8, 8)
    adam = torch.optim.AdamW(net.parameters(), lr=0.003)
    for _ in range(120):
        loss = (net.read(seen) - target).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert net.read(seen).flatten(2).argmax(2).tolist() == cells.tolist()
    assert loss < 0.2 * target.square().mean()


def published(path, folder, joints=18):
    """A file of the published layout."""
    torch.manual_seed(0)
    state = readout(joints, str(folder), **SMALL).state_dict()
    torch.save({"step": 1, "config": {"dims": [16, 16, 8, 8]}, "aggregation_network": state}, path)
    return str(path)


def teacher(weights, folder, joints=OPENPOSE18, decode=ARGMAX, **numbers):
    numbers = {"backbone": str(folder), "embedded": 999, **SMALL, **numbers}
    return load_predictor(TeacherSettings(kind="readout", weights=weights, numbers=numbers), decode, joints, "cpu")


def test_published_weights_annotate_an_image_of_any_size(sd, tmp_path):
    """The highest cell of each map above .1, its center carried back into the image by the exact affine."""
    made = teacher(published(tmp_path / "head.pt", sd), sd)
    (image,) = np.random.default_rng(1).integers(0, 256, (1, 50, 90, 3), dtype=np.uint8)
    (found,) = made([image])
    assert found.maps.heatmaps.shape == (18, 8, 8) and found.maps.tags is None
    highest = found.maps.heatmaps.reshape(18, -1).max(1)
    assert (highest > 0.1).any() and not (highest > 0.1).all()  # or nothing were shown
    assert (found.poses.scores[0] > 0).tolist() == (highest > 0.1).tolist()
    ys, xs = np.unravel_index(found.maps.heatmaps.reshape(18, -1).argmax(1), (8, 8))
    scale, border = 90 / 64, (64 - 50 * 64 / 90) / 2
    want = np.stack([xs * 8 + 4, ys * 8 + 4 - border], axis=1) * scale
    shown = highest > 0.1
    np.testing.assert_allclose(found.poses.points[0][shown], want[shown], atol=1e-3)  # float32 of about 100


def test_it_serves_those_who_want_cocos_joints(sd, tmp_path):
    weights = published(tmp_path / "head.pt", sd)
    image = photographs(1)[0]
    own, asked = (teacher(weights, sd, joints) for joints in (OPENPOSE18, COCO17))
    (one,), (other,) = own([image]), asked([image])
    assert other.maps.skeleton == other.poses.skeleton == COCO17
    order = COCO17.order_in(OPENPOSE18)
    np.testing.assert_array_equal(other.maps.heatmaps, one.maps.heatmaps[order])
    np.testing.assert_array_equal(other.poses.points, one.poses.points[:, order])
    assert asked.describe() != own.describe()
    with pytest.raises(ValueError, match=r"predict openpose18, the data have mpii16: pass --data\.skeleton"):
        teacher(weights, sd, MPII16)


def test_who_speaks_is_the_same_wherever_the_pipeline_lies(sd, tmp_path):
    """Else a cache could not be built on several machines."""
    weights = published(tmp_path / "head.pt", sd)
    moved = shutil.copytree(sd, tmp_path / "moved")
    here, there = teacher(weights, sd), teacher(weights, moved)
    assert here.describe() == there.describe() and json.loads(json.dumps(here.describe())) == here.describe()
    quirks = [{"embedded": 1}, {"latents": "sample"}]
    assert all(teacher(weights, sd, **quirk).describe() != here.describe() for quirk in quirks)


def test_another_pipeline_than_the_head_was_trained_with_is_refused(sd, tmp_path):
    save_pipeline(tmp_path / "other", seed=1)
    told = readout(18, str(sd), **SMALL).numbers["fingerprint"]
    readout(18, str(sd), fingerprint=told, **SMALL)
    with pytest.raises(ValueError, match=rf"expected the one that the head was trained with \({told}\), got another"):
        readout(18, str(tmp_path / "other"), fingerprint=told, **SMALL)


def test_a_head_that_says_its_time_is_not_given_another(sd, tmp_path):
    """The recipe of the published heads, with weights of one's own, would else read them wrongly and say nothing."""
    weights = str(tmp_path / "own.safetensors")
    save_net(weights, readout(18, str(sd), **SMALL), "readout", OPENPOSE18, 64, {})
    assert teacher(weights, sd, embedded=1).describe()["settings"]["size"] == 64
    with pytest.raises(ValueError, match=r"were given the embedding of time 1, not of 999: leave out --teacher\.num"):
        teacher(weights, sd, embedded=999)


def test_weights_that_do_not_say_their_time_are_asked_for_it(sd, tmp_path):
    settings = TeacherSettings(kind="readout", weights=published(tmp_path / "head.pt", sd), numbers={"backbone": "x"})
    with pytest.raises(ValueError, match=r"pass --teacher.numbers '\{backbone: FOLDER, embedded: 999\}'"):
        load_predictor(settings, ARGMAX, OPENPOSE18, "cpu")


def test_inputs_that_latents_do_not_divide(sd):
    """70 pixels make 8 latents, of which nobody knows where they lie."""
    look = readout(18, str(sd), **SMALL).look
    assert look(torch.zeros(1, 3, 72, 40)).size_hw == (9, 5)
    with pytest.raises(ValueError, match=r"input: expected sides that are multiples of 8, got \(70, 64\): choose"):
        look(torch.zeros(1, 3, 70, 64))


@pytest.mark.parametrize(
    "numbers, size, channels, parameters",
    [
        ({"attention_head_dim": 8, "cross_attention_dim": 768}, 512, [1280] * 6 + [640] * 3 + [320] * 3, 859_520_964),
        (
            {
                "sample_size": 128,
                "block_out_channels": (320, 640, 1280),
                "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
                "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            },
            1024,
            [1280] * 3 + [640] * 3 + [320] * 3,
            None,  # its transformers are left shallow: none of them is looked at
        ),
    ],
    ids=["SD 1.5", "XL"],
)
def test_the_real_nets_have_the_channels_of_the_published_heads(numbers, size, channels, parameters):
    diffusers = pytest.importorskip("diffusers", reason="the readout head needs pip install rtpe[diffusion]")
    with torch.device("meta"):
        unet = diffusers.UNet2DConditionModel(**numbers)
        look = Diffusion(unet, diffusers.AutoencoderKL(block_out_channels=[32] * 4), torch.zeros(1))
    assert (look.channels, look.embedding_length, look.stride, look.size) == (channels, 1280, 8, size)
    assert parameters in (None, sum(p.numel() for p in unet.parameters()))


def test_a_name_on_the_hub_is_read_by_that_name(tmp_path, monkeypatch):
    diffusers = pytest.importorskip("diffusers", reason="the readout head needs pip install rtpe[diffusion]")
    pytest.importorskip("transformers", reason="the readout head needs pip install rtpe[diffusion]")
    monkeypatch.chdir(tmp_path)
    asked = {}

    def no_network(**how):
        asked.update(how)
        raise OSError("\nno network\nand much more")

    monkeypatch.setattr(diffusers.UNet2DConditionModel, "from_pretrained", no_network)
    with pytest.raises(ValueError, match=r"^backbone someone/sd: unet cannot be read \(no network\): give a whole"):
        readout(18, "someone/sd")
    assert asked.pop("output_loading_info")
    assert asked == {"pretrained_model_name_or_path": "someone/sd", "subfolder": "unet", "use_safetensors": True}


def test_folders_that_are_no_pipeline(tmp_path):
    (tmp_path / "unet").mkdir()
    for backbone, message in [
        ("", "no backbone: pass {backbone: FOLDER} in --net.numbers or --teacher.numbers"),
        (str(tmp_path), f"backbone {tmp_path}: no vae in it, so no diffusion pipeline: give a folder with unet, vae,"),
        (str(tmp_path / "gone"), f"backbone {tmp_path}/gone: no such folder: give a folder with unet, vae,"),
        ("sd15", "backbone sd15: no such folder: give a folder with unet, vae,"),
    ]:
        with pytest.raises(ValueError) as error:
            readout(18, backbone)
        assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_a_misspelt_folder_is_not_asked_for_on_the_hub(tmp_path, monkeypatch):
    """`models/sd` has the form of a name there, but `models` is a folder here."""
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="backbone models/sd: no such folder"):
        readout(18, "models/sd")


@pytest.mark.parametrize(
    "torn, message",
    [
        ("unet/diffusion_pytorch_model.safetensors", "unet cannot be read"),
        ("vae/config.json", "vae cannot be read"),
        ("text_encoder/model.safetensors", "text_encoder cannot be read"),
    ],
)
def test_parts_that_are_missing(sd, tmp_path, torn, message):
    shutil.copytree(sd, tmp_path / "torn")
    (tmp_path / "torn" / torn).unlink()
    with pytest.raises(ValueError, match=message) as error:
        readout(18, str(tmp_path / "torn"), **SMALL)
    assert "\n" not in str(error.value) and "give a whole pipeline" in str(error.value)


def test_a_folder_of_the_layout_of_the_first_pipelines(sd, tmp_path):
    """Vocabulary and merges as two files, other names in the text encoder: so lies the real one."""
    folder = shutil.copytree(sd, tmp_path / "first")
    shutil.rmtree(folder / "tokenizer")
    (folder / "tokenizer").mkdir()
    words = {"<|startoftext|>": 0, "<|endoftext|>": 1, "!": 2}
    (folder / "tokenizer" / "vocab.json").write_text(json.dumps(words))
    (folder / "tokenizer" / "merges.txt").write_text("#version: 0.2\n")
    file = folder / "text_encoder" / "model.safetensors"
    state = {f"text_model.{name.removeprefix('text_model.')}": value for name, value in load_file(file).items()}
    save_file({**state, "text_model.embeddings.position_ids": torch.arange(77)[None]}, file, {"format": "pt"})
    torch.testing.assert_close(load(str(folder))[2], load(str(sd))[2])


def test_a_folder_of_float16_files_alone(sd, tmp_path):
    """As half of what is offered: `*.fp16.safetensors`, computed with in float32."""
    folder = shutil.copytree(sd, tmp_path / "small")
    for file in list(folder.rglob("*.safetensors")):
        save_file(
            {name: value.half() for name, value in load_file(file).items()}, file.with_suffix(".fp16.safetensors")
        )
        file.unlink()
    images = normalise(as_images(photographs(1)))
    whole, small = (readout(18, str(path), **SMALL).look(images) for path in (sd, folder))
    assert small.maps[0].dtype == torch.float32
    for one, other in zip(whole.maps, small.maps):
        assert (one - other).abs().max() < 0.02 * one.abs().max()  # 11 bits of each weight


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_weights_of_which_some_are_missing_are_not_made_up(sd, tmp_path, part):
    folder = shutil.copytree(sd, tmp_path / "torn")
    (file,) = (folder / part).glob("*.safetensors")
    state = load_file(file)
    lost = max(state)
    save_file({name: value for name, value in state.items() if name != lost}, file, {"format": "pt"})
    with pytest.raises(
        ValueError, match=rf"{part} cannot be read \(its weights lack \S*{lost.split('.')[-2]}\S*\): give"
    ):
        load(str(folder))


@pytest.mark.parametrize("library", ["diffusers", "transformers"])
def test_a_missing_extra_says_what_to_install(tmp_path, monkeypatch, library):
    for part in ("unet", "vae", "text_encoder", "tokenizer"):
        (tmp_path / part).mkdir()
    if library == "transformers":
        pytest.importorskip("diffusers", reason="the readout head needs pip install rtpe[diffusion]")
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ValueError, match=rf"{library} is not installed: pip install rtpe\[diffusion\]"):
        readout(18, str(tmp_path))


def test_latents_that_cannot_be():
    with pytest.raises(ValueError, match="latents: choose from mode, sample, got 'mean'"):
        Diffusion(torch.nn.Identity(), torch.nn.Identity(), torch.zeros(1), latents="mean")
