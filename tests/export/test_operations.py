"""Every operation of the installed TensorFlow that may touch files, other processes or other machines is refused or known to be harmless."""

import re

import pytest
from tensorflow.core.framework import op_def_pb2
from tensorflow.python.client import pywrap_tf_session as session

from tlkeras.export.safety import UNSAFE
from tlkeras.export.saved_model_paths import READERS

WORDS = re.compile(
    "File|Path|Dir(?!ect)|Glob(?!al)|Write|Read(?!y)|Save|Restore|Checkpoint|Debug|Snapshot|Record|Sql|C[sS][vV]|Rpc|Remote|Py|Dump|Print"
    "|Summary|Load|Remap|Vocab|Import|Export|Cache|Text|Library|Custom|Mlir|Service|Server|Abort|Heartbeat|Deserialize|Graph|Proto|LMDB"
    "|Immutable|Send|Recv|Session|Compile|Launch|Execute|Shutdown|Module|Url|Trace|Profil"
)
ARGUMENTS = re.compile("file|path|url|dir(?!ection)|address|descriptor|region|module|target$|serialized|graph|program|host|command|library")
TEXTS = (0, 7)  # inputs of any type, and of texts

# Operations with such a name or argument that only compute, and why.
HARMLESS = {
    "values, and not files, are written, read, saved and described": """
        TensorArrayRead TensorArrayReadV2 TensorArrayReadV3 TensorArrayWrite TensorArrayWriteV2 TensorArrayWriteV3 ReadVariableOp
        ReadVariableXlaSplitND DisableCopyOnRead RngReadAndSkip Snapshot LookupTableExport LookupTableExportV2 LookupTableImport
        LookupTableImportV2 AnonymousMemoryCache DeleteMemoryCache DummyMemoryCache GetSessionHandle GetSessionHandleV2 GetSessionTensor
        DeleteSessionTensor DecodeCSV ShardedFilename ShardedFilespec CustomAggregator _ReadVariablesOp
    """,
    "texts that are parsed and written as values": """
        DeserializeManySparse DeserializeSparse ParseExample ParseExampleV2 ParseSequenceExample ParseSequenceExampleV2 ParseSingleExample
        ParseSingleSequenceExample ParseTensor OptionsDataset BoostedTreesCreateEnsemble BoostedTreesDeserializeEnsemble
        BoostedTreesSerializeEnsemble BoostedTreesQuantileStreamResourceDeserialize DatasetToGraph DatasetToGraphV2 IteratorGetModelProto
    """,
    "they have no reader, writer or connection where none can be made": """
        ReaderNumRecordsProduced ReaderNumRecordsProducedV2 ReaderNumWorkUnitsCompleted ReaderNumWorkUnitsCompletedV2 ReaderRead
        ReaderReadUpTo ReaderReadUpToV2 ReaderReadV2 ReaderReset ReaderResetV2 ReaderRestoreState ReaderRestoreStateV2 ReaderSerializeState
        ReaderSerializeStateV2 StatsAggregatorSetSummaryWriter DeleteRpcFutureResource
    """,
    "summaries and messages as values, or to the terminal": """
        AudioSummary AudioSummaryV2 HistogramSummary ImageSummary MergeSummary ScalarSummary StatsAggregatorSummary TensorSummary
        TensorSummaryV2 ExperimentalStatsAggregatorSummary BoostedTreesMakeStatsSummary BoostedTreesExampleDebugOutputs
        DebugGradientIdentity DebugGradientRefIdentity Print GraphDefVersion RequiresOlderGraphVersion
    """,
    "between devices of one process, as long as nobody has made a cluster": """
        Send Recv _Send _Recv _HostSend _HostRecv CollectiveBcastRecv CollectiveBcastRecvV2 CollectiveBcastSend CollectiveBcastSendV2
        _NcclBroadcastRecv _NcclBroadcastSend _NcclReduceRecv _NcclReduceSend
    """,
    "what XLA compiles: its module computes, and calls functions that are listed": """
        XlaCallModule XlaLaunch XlaLaunchV2 XlaRecv XlaSend XlaRecvFromHost XlaSendToHost XlaHostCompute _XlaHostComputeMlir _XlaCompile
        _XlaCompileMlirPlaceholderProgramKey _XlaRecvAtHost _XlaRecvAtHostV2 _XlaSendFromHost _XlaSendFromHostV2
    """,
    "for processors that are not here": """
        RecvTPUEmbeddingActivations SendTPUEmbeddingGradients XlaRecvTPUEmbeddingActivations XlaRecvTPUEmbeddingActivationsV2
        XlaRecvTPUEmbeddingDeduplicationData XlaRecvTPUEmbeddingDeduplicationDataV2 XlaSendTPUEmbeddingGradients
        XlaSendTPUEmbeddingGradientsV2 LoadAllTPUEmbeddingParameters ExecuteTPUEmbeddingPartitioner ShutdownDistributedTPU
        ShutdownTPUSystem _ShutdownDistributedTPU TPUCompile TPUCompileSucceededAssert TPUExecute TPUExecuteAndUpdateVariables
        _TPUCompileMlir TpuHandleToProtoKey TPUReplicateMetadata _TPUReplicate GetMinibatchSplitsWithPhysicalReplica
        GetMinibatchesInCsrWithPhysicalReplica StoreMinibatchStatisticsInFdo _FusedQuantizedConv2D _FusedQuantizedDepthwiseConv2D
        _QuantizedMatMul
    """,
}
FAMILIES = re.compile(
    r"LoadTPUEmbedding\w+Parameters|XlaSparseDenseMatmulCustomCombiner\w+"  # for such processors, too
    r"|TFText>\w+|Sentencepiece\w*Op"  # of TensorFlow Text, where a test before loaded it: its vocabularies and models are values
)


def registered():
    """Returns the definition of every operation that a graph may name here."""
    return op_def_pb2.OpList.FromString(session.TF_GetBuffer(session.TF_GetAllOpList())).op


def is_suspicious(operation):
    texts = [argument.name for argument in operation.input_arg if argument.type in TEXTS]
    texts += [attribute.name for attribute in operation.attr if attribute.type in ("string", "list(string)")]
    return bool(WORDS.search(operation.name) or any(map(ARGUMENTS.search, texts)))


def test_every_operation_that_may_touch_more_than_values_is_classified():
    harmless = set(" ".join(HARMLESS.values()).split())
    unknown = [
        operation.name
        for operation in registered()
        if is_suspicious(operation)
        and not any(pattern.fullmatch(operation.name) for pattern in (UNSAFE, READERS, FAMILIES))
        and operation.name not in harmless
    ]
    assert not unknown, f"{unknown}: what do they open? Add them to UNSAFE in export/safety.py, or to HARMLESS here"


def test_no_operation_is_both_harmless_and_refused_and_all_of_them_exist():
    harmless = set(" ".join(HARMLESS.values()).split())
    assert not [name for name in harmless if UNSAFE.fullmatch(name) or READERS.fullmatch(name)]
    assert not harmless - {operation.name for operation in registered()}


@pytest.mark.parametrize(
    "name",
    """
    DebugNanCount DistributedSave RecordInput MatchingFilesDataset ExperimentalMatchingFilesDataset ExperimentalSqlDataset
    ExperimentalCSVDataset GenerateVocabRemapping LoadAndRemapMatrix FixedUnigramCandidateSampler ListSnapshotChunksDataset
    SnapshotChunkDataset DecodeProtoV2 EncodeProto DatasetFromGraph Skipgram CalibrationStatisticsSaver FileSystemSetConfiguration Abort
    """.split(),
)
def test_an_operation_that_opens_a_file_or_ends_the_process_is_refused(name):
    assert UNSAFE.fullmatch(name)


@pytest.mark.parametrize("name", "Relu MatMul StatefulPartitionedCall HashTableV2 VarHandleOp Print DecodeJpeg".split())
def test_an_operation_that_computes_is_not_refused(name):
    assert not UNSAFE.fullmatch(name)
