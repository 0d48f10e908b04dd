"""A scheduler behind TLS, on the loopback, with certificates made here."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from support.nets import ids, lstm_file
from support.rules import NO_OPENSSL
from support.schedulers import Scheduler

from verify.__main__ import main
from verify.checks.cluster import ClusterError, Tls, connected

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(shutil.which("openssl") is None, reason=NO_OPENSSL),
]

KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory) -> Path:
    """Two authorities, ``ca`` and ``other``, and whom each has signed."""
    folder = tmp_path_factory.mktemp("certificates")
    for authority, name in (("ca", "node"), ("other", "stranger")):
        made = [*KEY, "-keyout", f"{authority}.key", "-out", f"{authority}.pem"]
        subject = ["-days", "2", "-subj", f"/CN={authority}"]
        openssl(folder, "req", "-x509", *made, *subject)
        made = [*KEY, "-keyout", f"{name}.key", "-out", f"{name}.csr"]
        openssl(folder, "req", *made, "-subj", f"/CN={name}")
        signed = ["-CA", f"{authority}.pem", "-CAkey", f"{authority}.key"]
        openssl(
            folder, "x509", "-req", "-in", f"{name}.csr", *signed, "-CAcreateserial",
            "-out", f"{name}.pem", "-days", "2",
        )  # fmt: skip
    return folder


def files(folder: Path, ca: str = "ca", cert: str = "node", key: str = "node") -> Tls:
    named = (f"{ca}.pem", f"{cert}.pem", f"{key}.key")
    return Tls(*(str(folder / name) for name in named))


@pytest.fixture(scope="module")
def scheduler(certificates, tmp_path_factory):
    own = [word for pair in files(certificates).given.items() for word in pair]
    made = Scheduler(tmp_path_factory.mktemp("dask"), "--protocol", "tls", *own)
    made.start()
    yield made
    made.close()


def test_rows_are_evaluated_behind_tls(scheduler, certificates, tmp_path, capsys):
    model = str(lstm_file(tmp_path / "m.keras"))
    np.save(tmp_path / "x.npy", ids(batch=20))
    command = ["predict", model, "--data", str(tmp_path / "x.npy")]
    there = ["--out", str(tmp_path / "there.npy"), "--dask", scheduler.address]
    for option, file in files(certificates).given.items():
        there += [option, file]
    assert scheduler.address.startswith("tls://")
    assert main([*command, *there]) == 0
    assert main([*command, "--out", str(tmp_path / "here.npy")]) == 0
    found, wanted = (np.load(tmp_path / name) for name in ("there.npy", "here.npy"))
    np.testing.assert_array_equal(found, wanted)
    assert np.ptp(found) > 0
    capsys.readouterr()


def test_files_of_dasks_configuration_hold_too(scheduler, certificates):
    # Dask drops all of a package's settings after this block if they were not there
    # before it
    import dask
    import distributed  # noqa: F401

    tls = files(certificates)
    own = {"ca-file": tls.ca_file, "client.cert": tls.cert, "client.key": tls.key}
    named = {f"distributed.comm.tls.{key}": file for key, file in own.items()}
    with dask.config.set(named), connected(scheduler.address) as cluster:
        assert list(cluster.map(abs, [-1, 2])) == [1, 2]


WRONG = {
    "authority": (
        {"ca": "other"},
        "{address}: expected a scheduler whose certificate {ca_file} has signed. "
        "Received: another (self-signed certificate in certificate chain). Give "
        "--tls-ca-file the file that the scheduler was started with",
    ),
    "certificate": (
        {"cert": "stranger", "key": "stranger"},
        "{address}: expected a certificate that the scheduler accepts. Received: "
        "{cert} ([SSL: TLSV1_ALERT_UNKNOWN_CA]",
    ),
    "key": (
        {"key": "stranger"},
        "--tls-cert, --tls-key: expected a certificate and its key, without a "
        "password, in PEM form. Received: {cert} and {key} ([X509: KEY_VALUES_",
    ),
    "no file": (
        {"ca": "none"},
        "--tls-ca-file: expected certificates of authorities in PEM form. Received: "
        "{ca_file} ([Errno 2] No such file or directory)",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_with_the_files_is_said_at_once(wrong, scheduler, certificates):
    names, message = WRONG[wrong]
    tls = files(certificates, **names)
    said = message.format(address=scheduler.address, **vars(tls))
    with (
        pytest.raises(ClusterError) as caught,
        connected(scheduler.address, tls=tls),
    ):
        pass
    assert str(caught.value).startswith(said)


def test_a_file_that_is_no_certificate_is_named(certificates, tmp_path):
    (tmp_path / "ca.pem").write_text("my certificate")
    good = files(certificates)
    tls = Tls(str(tmp_path / "ca.pem"), good.cert, good.key)
    with pytest.raises(ClusterError) as caught, connected("tls://a:1", tls=tls):
        pass
    said = "--tls-ca-file: expected certificates of authorities in PEM form. Received: "
    assert str(caught.value).startswith(f"{said}{tmp_path / 'ca.pem'} ")


def test_without_files_it_says_which_are_needed(scheduler):
    with pytest.raises(ClusterError) as caught, connected(scheduler.address):
        pass
    assert str(caught.value) == (
        f"{scheduler.address}: expected --tls-ca-file, --tls-cert and --tls-key, "
        "signed as those of the scheduler. Received: no --tls-ca-file and no --tls-cert"
    )


def test_the_other_scheme_is_named_on_either_side(scheduler, certificates, tmp_path):
    plain = scheduler.address.replace("tls://", "tcp://")
    with pytest.raises(ClusterError) as caught, connected(plain):
        pass
    assert str(caught.value).startswith(
        f"{plain}: expected a Dask scheduler. Received: one with TLS. Its address "
        "begins with tls://"
    )
    own = Scheduler(tmp_path)
    secured = own.address.replace("tcp://", "tls://")
    try:
        with (
            pytest.raises(ClusterError) as caught,
            connected(secured, tls=files(certificates)),
        ):
            pass
    finally:
        own.close()
    assert str(caught.value) == (
        f"{secured}: expected a Dask scheduler with TLS. Received: one without; its "
        "address begins with tcp://"
    )


@pytest.mark.parametrize("address", ["tcp://a:1", "local", None])
def test_files_without_an_address_of_tls_are_refused(address, tmp_path, capsys):
    model = str(lstm_file(tmp_path / "m.keras"))
    np.save(tmp_path / "x.npy", ids())
    command = ["predict", model, "--data", str(tmp_path / "x.npy")]
    command += ["--out", str(tmp_path / "y.npy"), "--tls-cert", os.devnull]
    command += [] if address is None else ["--dask", address]
    assert main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "tls://host:8786" in line
    assert line.endswith(f"Received: {address or 'none'}")
